"""One model in memory: the base, and adapters beside it under their names."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from ..classes import names_of_checkpoint
from ..config_model import build_model
from ..errors import UserError
from ..files import (
    KEY,
    BaseRecord,
    is_adapter,
    load_adapter,
    read_adapter,
    read_checkpoint,
    rebuild,
)
from ..files.base_weights import lacking_keys, read_base
from ..files.described_model import DESCRIPTION_NAME, DescribedModel, test_pipeline
from ..files.prefix import with_full_keys
from ..peft import fit_class_counts, set_adapter
from ..values import nearest
from .asked import BASE, check_adapters, nearest_adapter


@dataclass
class View:
    """One way in which a resident model computes.

    Args:
        name (str): Of the adapter; :data:`BASE` for the base, or for a model without adapters.
        meta (dict): What is known of its classes or keypoints, ``classes`` among it.
        pipeline (list): Configs of the transforms that its images go through.
        described (bool): Whether they come from the folder of an adapter and not from a config, so
            that nothing may be imported for a name in them.
    """

    name: str
    meta: dict
    pipeline: list = field(default_factory=list)
    described: bool = False

    @property
    def class_names(self) -> list[str]:
        """list[str]: Names by label; empty where they are not known."""
        names = self.meta.get('classes') or ()
        return [] if isinstance(names, str) else [str(name) for name in names]


@dataclass
class Resident:
    """A model in memory and the views of it.

    Args:
        model (nn.Module): In evaluation mode, the views' adapters loaded beside each other.
        views (dict[str, View]): By name, in the order in which they were asked for.
        scope (str): The library that the model is of.
    """

    model: nn.Module
    views: dict[str, View]
    scope: str

    def switch(self, name: str) -> None:
        """Let the model compute as a view says.

        Args:
            name (str): Its name.

        Raises:
            UserError: There is no such view.
        """
        if name not in self.views:
            raise UserError(
                f'no adapter {name!r} is loaded; nearest: {nearest(name, self.views)}, all: '
                f'{", ".join(self.views)}'
            )
        if self._switches:
            set_adapter(self.model, None if name == BASE else name)

    @property
    def _switches(self) -> bool:
        # A model rebuilt from a checkpoint of a training has one adapter, which stays.
        return list(self.views) != [BASE]


def open_resident(
    source: str | Config,
    adapters: Mapping[str, str] | None = None,
    checkpoint: str | None = None,
    device: str | None = None,
) -> Resident:
    """Build a model once, and load its base and adapters.

    Args:
        source (str or Config): An adapter folder, or a whole config.
        adapters (Mapping[str, str], optional): Adapter folders by name, '' for the base. By default
            the folder that ``source`` is, or none.
        checkpoint (str, optional): The weights: of the base, where there are adapters; else of the
            model. By default where the adapters say that their base is, or the config's
            ``load_from``.
        device (str, optional): As torch has it. Defaults to a GPU where there is one.

    Returns:
        Resident: The model, ready to predict.

    Raises:
        UserError: A file is missing, or they do not belong together.
    """
    given = dict(adapters or {})
    if isinstance(source, str):
        if not is_adapter(source):
            raise UserError(f'{source} is no adapter folder{nearest_adapter(source)}')
        given = given or dict(adapter=source)
    check_adapters(given)
    # A folder says what its base is, also where that is asked for alone.
    described = source if isinstance(source, str) else None
    of_base = next(filter(None, given.values()), described)
    with _config(source) as cfg:
        scope = cfg.get('default_scope') or 'mmdet'
        model = revert_sync_batchnorm(build_model(cfg))
        if of_base is not None:
            record = read_adapter(of_base)[0].base
            if BASE in given:
                _check_dense(given)
            base = checkpoint or (None if isinstance(source, str) else cfg.get('load_from'))
            meta = _load_base(model, record, base, BASE in given)
            views = _load_views(model, given, meta, cfg, isinstance(source, str))
        else:
            path = checkpoint or cfg.get('load_from')
            if path is None:
                raise UserError('there are no weights: name a checkpoint, --checkpoint FILE')
            meta = _load_whole(model, path)
            views = {BASE: View(BASE, meta, test_pipeline(cfg))}
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    for name in views if len(views) > 1 else ():
        set_adapter(model, None if name == BASE else name)
        model.to(device)  # an adapter that is off stays where it is
    model.to(device).eval()
    return Resident(model, views, scope)


@contextmanager
def _config(source: str | Config) -> Iterator[Config]:
    if isinstance(source, str):
        with DescribedModel.read(source).config() as cfg:
            yield cfg
    else:
        yield source


def _load_base(model: nn.Module, record: BaseRecord, path: str | None, wanted: bool) -> dict:
    """Load the base's weights.

    Where the base itself is to predict, the model gets the base's number of classes; else what does
    not fit is left out, as each adapter has it.

    Returns:
        dict: What its checkpoint says of the data that it was trained on, if it says it.
    """
    state, meta = read_base(model, record, path)
    where, names = path or record.load_from, names_of_checkpoint(dict(meta=meta)).get('classes')
    own = model.state_dict()
    misfits = [key for key in state if key in own and own[key].shape != state[key].shape]
    if wanted:
        fit_class_counts(model, {k: state[k] for k in misfits}, {}, names, str(where))
        missing = lacking_keys(model, state)
        if missing:
            raise UserError(
                f'--adapters {BASE}: the base ({where or "the pretrained files of its parts"}) has '
                f'no weights for {missing[0]} and {len(missing) - 1} more tensors, so that it '
                'predicts nothing by itself; leave none away'
            )
        misfits = []
    _load(model, {key: value for key, value in state.items() if key not in misfits})
    said = meta.get('dataset_meta') or {}
    said = {str(key).lower(): value for key, value in said.items()}
    return {**said, 'classes': tuple(names or ())}


def _check_dense(adapters: Mapping[str, str]) -> None:
    """Refuse the base beside an adapter whose training has rounded it to fewer bits."""
    for name, folder in adapters.items():
        if folder and read_adapter(folder)[0].plan.get('quant'):
            raise UserError(
                f'--adapters {BASE} {name}: {folder} is for a base in fewer bits, which the base '
                'beside it would be too; look with the base in a run of its own'
            )


def _load_views(
    model: nn.Module, adapters: Mapping[str, str], base_meta: dict, cfg: Config, described: bool
) -> dict[str, View]:
    views = {}
    for name, folder in adapters.items():
        if not folder:
            views[name] = View(name, base_meta, test_pipeline(cfg), described)
            continue
        load_adapter(model, folder, name)
        meta, pipeline = {}, []
        if _has_description(folder):
            own = DescribedModel.read(folder)
            meta, pipeline = own.dataset_meta, own.pipeline
        names = read_adapter(folder)[0].class_names
        meta = {**({'classes': tuple(names)} if names else {}), **meta}
        views[name] = View(name, meta, pipeline or test_pipeline(cfg), described or bool(pipeline))
    return views


def _has_description(folder: str) -> bool:
    return Path(folder, DESCRIPTION_NAME).is_file()


def _load_whole(model: nn.Module, path: str) -> dict:
    """Load an ordinary checkpoint or one of a training with ``peft``; return its metainfo."""
    checkpoint = read_checkpoint(path)
    meta = dict((checkpoint.get('meta') or {}).get('dataset_meta') or {})
    names = names_of_checkpoint(checkpoint).get('classes')
    if KEY in checkpoint:
        names = rebuild(model, path).class_names or names
    else:
        state = with_full_keys(model, checkpoint['state_dict'])
        own, wrong = model.state_dict(), lacking_keys(model, state)
        if wrong:
            raise UserError(
                f'{path} does not fit this config: it has no {wrong[0]} of the shape '
                f'{tuple(own[wrong[0]].shape)}, as for {len(wrong) - 1} more tensors, which would '
                'be random; name the config that it belongs to'
            )
        _load(model, state)
    return {**meta, **({'classes': tuple(names)} if names else {})}


def _load(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    model.load_state_dict(dict(state), strict=False)
