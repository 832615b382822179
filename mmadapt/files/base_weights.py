"""The base model: which of a model's weights come from a file, and how to get them again."""

import os.path as osp
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from mmengine.model import BaseModule, initialize
from torch import Tensor, nn

from ..downloads import naming_pretrained
from ..errors import UserError
from ..peft.shared import keys_without_weight
from ..type_names import type_name
from .fingerprint import file_sha256
from .loaded_keys import LoadedKeys
from .prefix import with_full_keys
from .reading import check_is_there, read_checkpoint
from .trained_part import guard


@dataclass
class BaseRecord:
    """Where the frozen weights of an adapted model come from.

    Attributes:
        load_from (str, optional): Absolute path or URL of a checkpoint.
        sha256 (str, optional): Of that file, if it is a local one and no folder.
        pretrained (list[str]): Modules that load a file of their own when they are initialized
            (``init_cfg`` of type ``Pretrained``).
        built_in (list[str]): State-dict keys of what the model has pretrained weights for as soon
            as it is built, by ``from_pretrained`` or the like, and no file above has.
        not_in_base (list[str]): State-dict keys that nothing of this provides.
        fingerprint (str): Of the frozen tensors.
    """

    load_from: str | None = None
    sha256: str | None = None
    pretrained: list = field(default_factory=list)
    built_in: list = field(default_factory=list)
    not_in_base: list = field(default_factory=list)
    fingerprint: str = ''

    def to_dict(self) -> dict:
        """Return a dict of plain values."""
        record = asdict(self)
        if not self.built_in:
            del record['built_in']  # unknown to versions before it, which read all else
        return record


def pretrained_modules(model: nn.Module) -> list[str]:
    """Return the names of the modules that load pretrained weights when they are initialized."""
    names = []
    for name, module in model.named_modules():
        if _pretrained_configs(module):
            names.append(name)
    return names


def pretrained_files(module: nn.Module) -> list[str]:
    """Return the paths and URLs that a module loads when it is initialized."""
    return [str(config.get('checkpoint')) for config in _pretrained_configs(module)]


def _pretrained_configs(module: nn.Module) -> list[Mapping]:
    configs = getattr(module, 'init_cfg', None) or []
    configs = [configs] if isinstance(configs, Mapping) else configs
    return [config for config in configs if is_pretrained(config)]


def is_pretrained(init_cfg: Mapping) -> bool:
    """Return whether an initializer loads a file: MMEngine registers it as ``Pretrained``."""
    return type_name(init_cfg.get('type')) in ('Pretrained', 'PretrainedInit')


def provided_keys(model: nn.Module, name: str) -> set[str]:
    """Initialize a module and return the state-dict keys that its pretrained file had weights for.

    What a module announces and what really arrives differ where the file is of another architecture
    or its prefix is wrong: MMEngine then only warns.

    Args:
        model (nn.Module): The model.
        name (str): A module of it that loads a file when it is initialized.

    Returns:
        set[str]: Keys of the model for which a tensor of the right shape was loaded.
    """
    root: Any = model.get_submodule(name)
    loaded = LoadedKeys(root)
    with naming_pretrained(name, pretrained_files(root)):
        if getattr(root, 'is_init', False) and type(root).init_weights is BaseModule.init_weights:
            initialize(root, _pretrained_configs(root))  # MMEngine's does nothing a second time
        else:
            root.init_weights()
    loaded.stop()
    return {f'{name}.{key}'.lstrip('.') for key in loaded.keys}


def lacking_keys(model: nn.Module, state_dict: Mapping[str, Tensor]) -> list[str]:
    """Return the keys of a model for which a state dict has no tensor of the right shape.

    Args:
        model (nn.Module): The model.
        state_dict (Mapping[str, Tensor]): By key of the model. A batch counter, which old
            checkpoints lack, is not missed.
    """
    return [
        key
        for key, tensor in model.state_dict().items()
        if not key.endswith('num_batches_tracked')
        and (key not in state_dict or state_dict[key].shape != tensor.shape)
    ]


def make_base_record(
    model: nn.Module, load_from: str | None, state_dict: Mapping[str, Tensor]
) -> BaseRecord:
    """Describe the base of a stock model that ``load_from`` is going to be loaded into.

    Modules that load a file of their own are initialized, if ``load_from`` lacks something of them.

    Args:
        model (nn.Module): The model, before it is adapted.
        load_from (str, optional): Path or URL of the checkpoint.
        state_dict (Mapping[str, Tensor]): What it holds, of the model or of a part of it; a tensor
            of another shape does not count, and a batch counter, which old checkpoints lack, is not
            missed.

    Returns:
        BaseRecord: Without the fingerprint.
    """
    record, state_dict = BaseRecord(), with_full_keys(model, state_dict)
    missing = {*lacking_keys(model, state_dict)}
    for name in pretrained_modules(model):
        if any(key.startswith(f'{name}.' if name else '') for key in missing):
            _require_values(model, name)
            provided = provided_keys(model, name)
            if provided & missing:
                record.pretrained.append(name)
                missing -= provided
    record.not_in_base = sorted(keys_without_weight(model, missing))
    if load_from is not None:
        local = osp.exists(load_from)
        record.load_from = osp.abspath(load_from) if local else load_from
        record.sha256 = file_sha256(load_from) if osp.isfile(load_from) else None
    return record


def _require_values(model: nn.Module, name: str) -> None:
    if any(p.is_meta for p in model.get_submodule(name).parameters()):
        raise UserError(
            f'strategy.meta_init=True: which weights {name or "the model"} has from a '
            'pretrained file of its own is found out in every process, and the first '
            'one alone has them; write meta_init=False, or set load_from to a '
            'checkpoint of the whole model'
        )


def base_state_dict(
    model: nn.Module, record: BaseRecord, override: str | None = None
) -> dict[str, Tensor]:
    """Get the base model's weights again; takes and raises what :func:`read_base` does.

    Returns:
        dict[str, Tensor]: Stock keys.
    """
    return read_base(model, record, override)[0]


def read_base(
    model: nn.Module, record: BaseRecord, override: str | None = None
) -> tuple[dict[str, Tensor], dict]:
    """Get the base model's weights again, and what its checkpoint says beside them.

    Args:
        model (nn.Module): The model; modules that load a file when they are initialized, and have
            not been, are initialized.
        record (BaseRecord): Where the weights come from.
        override (str, optional): Where the checkpoint is now, instead of where it was.

    Returns:
        tuple[dict[str, Tensor], dict]: The weights by stock key, and the checkpoint's ``meta``.

    Raises:
        UserError: The checkpoint is not where it was, or is no base.
    """
    for name in set(record.pretrained) - set(pretrained_modules(model)):
        raise UserError(
            f'the base of {name or "the model"} came from the file that its init_cfg '
            'named, and this model has none there. (init_detector takes it away: '
            'init_detector(CONFIG, FILE, cfg_options={}) leaves it)'
        )
    for name in record.pretrained:
        _require_values(model, name)
        module: Any = model.get_submodule(name)
        if not getattr(module, 'is_init', False):
            with naming_pretrained(name, pretrained_files(module)):
                module.init_weights()
    # Whatever is not overwritten below is either stored beside the adapter or came from there.
    prefixes = tuple(f'{name}.' if name else '' for name in record.pretrained)
    state = {key: value for key, value in model.state_dict().items() if key.startswith(prefixes)}
    path = override or record.load_from
    meta: dict = {}
    if path is not None:
        with _saying_where():
            checkpoint = read_checkpoint(path)
        state.update(with_full_keys(model, guard(checkpoint, path)['state_dict']))
        meta = checkpoint.get('meta') or {}
    state.update(
        {key: value for key, value in model.state_dict().items() if key in record.built_in}
    )
    return state, meta


def check_base_is_there(record: BaseRecord, override: str | None = None) -> None:
    """Check what :func:`base_state_dict` would find missing, without reading it.

    Args:
        record (BaseRecord): Where the weights come from.
        override (str, optional): Where the checkpoint is now, instead of where it was.

    Raises:
        UserError: The checkpoint is not where it was.
    """
    path = override or record.load_from
    if path is not None:
        with _saying_where():
            check_is_there(path)


@contextmanager
def _saying_where() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(
            f'the base model: {error}. Where it is now can be said with --cfg-options '
            'peft.base=FILE, --base FILE of `mmadapt merge`, or --checkpoint FILE of `mmadapt '
            'predict`'
        ) from None
