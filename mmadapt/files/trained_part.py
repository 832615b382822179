"""Checkpoints that hold only what was trained, and whoever reads them as if they were whole.

Loaded into a stock model such a file would leave its base as random as it was built, and a few
lines in the log would be all that says so. Where this package is not imported, torch refuses the
file and names the class that stands first in it; where torch has been told to accept everything,
that object refuses. Where the package is imported, the file's state dicts refuse whoever reads them
without completing them.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from ..errors import UserError
from .fingerprint import fingerprint

KEY = 'mmadapt'
"""The key of a checkpoint, and of ``adapter_config.json``, under which the record stands."""
NOTE = 'holds'
"""The key under which a checkpoint that is not whole has an object named after that."""

_STATES = ('state_dict', 'ema_state_dict')
_NOTHING = fingerprint({})
_KNOWN = ContextVar('_KNOWN', default=False)


class OnlyAnAdapterMergeItFirstOrImportMmadapt:
    """Stands first in a checkpoint, for its name, which torch shows where it does not know it.

    Raises:
        UserError: It is read by something that knows neither it nor what such a checkpoint lacks.
    """

    def __init__(self) -> None:
        if not _KNOWN.get():
            raise UserError(
                'this checkpoint holds only what a training with `peft` has changed: '
                + _ways('its base')
            )

    def __reduce__(self):
        return type(self), ()

    def __deepcopy__(self, memo):
        return self


def _known_note() -> OnlyAnAdapterMergeItFirstOrImportMmadapt:
    with known():
        return OnlyAnAdapterMergeItFirstOrImportMmadapt()


# Only for whoever lets torch check what a file names, as is its default.
torch.serialization.add_safe_globals(
    [(_known_note, f'{__name__}.{OnlyAnAdapterMergeItFirstOrImportMmadapt.__name__}')]
)


@contextmanager
def known() -> Iterator[None]:
    """Allow, while it is entered, to read such checkpoints; to be followed by :func:`guard`."""
    token = _KNOWN.set(True)
    try:
        yield
    finally:
        _KNOWN.reset(token)


def _ways(base: str, file: str = 'FILE') -> str:
    return (
        f'{base} would be random here. Use a config with that `peft` and custom_hooks = '
        f"[dict(type='PEFTInjectHook')], or merge it, mmadapt merge CONFIG "
        f'{file} merged.pth, and use merged.pth, or load the base '
        'and call mmadapt.load_adapter(model, FOLDER)'
    )


class TrainedPart(MutableMapping):
    """The state dict of a checkpoint that holds only what was trained.

    Whatever takes it for a model's state dict is refused. It is saved as the ordinary dict of its
    tensors.

    Args:
        tensors (Mapping[str, Tensor]): What the file holds.
        record (Mapping): What it says of itself.
        source (str): The file, for messages.
    """

    def __init__(self, tensors: Mapping[str, Tensor], record: Mapping, source: str) -> None:
        self.tensors, self.record, self.source = tensors, record, source

    def refuse(self, *_):
        """Refuse to be read.

        Raises:
            UserError: Always; it names the ways to read the file.
        """
        base = (self.record.get('base') or {}).get(
            'load_from'
        ) or 'the pretrained files of its config'
        raise UserError(
            f'{self.source} holds only what a training with `peft` has changed: '
            + _ways(f'its base, {base},', self.source)
        )

    __getitem__ = __setitem__ = __delitem__ = __iter__ = __len__ = refuse
    copy = __copy__ = __deepcopy__ = refuse

    def __reduce__(self):
        return OrderedDict, ([*self.tensors.items()],)


def is_whole(record: Mapping) -> bool:
    """Return whether a checkpoint with this record lacks nothing, as after full fine-tuning."""
    return not record.get('adapted') and (record.get('base') or {}).get('fingerprint') == _NOTHING


def guard(checkpoint, source: str):
    """Make the state dicts of a checkpoint that holds only what was trained refuse its readers.

    Args:
        checkpoint (Any): What was read. It is changed in place, if it is such a checkpoint.
        source (str): The file, for messages.

    Returns:
        Any: The same.
    """
    record = checkpoint.get(KEY) if isinstance(checkpoint, dict) else None
    if isinstance(record, Mapping) and not is_whole(record):
        for name in _STATES:
            if name in checkpoint and not isinstance(checkpoint[name], TrainedPart):
                checkpoint[name] = TrainedPart(checkpoint[name], record, source)
    return checkpoint


def unguard(checkpoint: dict) -> None:
    """Undo :func:`guard`, for who completes what was trained or wants no more than that."""
    for name in _STATES:
        if isinstance(checkpoint.get(name), TrainedPart):
            checkpoint[name] = checkpoint[name].tensors


def note_contents(checkpoint: dict, record: dict) -> None:
    """Say in a checkpoint that is about to be saved what it holds.

    Args:
        checkpoint (dict): Changed in place.
        record (dict): What it says of itself.
    """
    rest = {**checkpoint}
    checkpoint.clear()
    if not is_whole(record):  # torch names the first class that it does not know
        checkpoint[NOTE] = _known_note()
    checkpoint.update(rest)
    checkpoint[KEY] = record
