"""What a model is built from, as data beside its adapter: ``model_config.json``.

With it an adapter folder can be used without the config of its training. The file may come from
anywhere. So it is data: it names types, and only types that OpenMMLab's libraries have registered
are built; no module is imported because it says so, and no file is run (:func:`check_harmless`).
"""

import json
import os.path as osp
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from os import listdir
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.fileio import dump
from mmengine.registry import Registry

from ..config_model import model_config
from ..errors import UserError
from ..extras import remedy
from ..values import nearest
from .plain_values import NotPlainError, from_json, to_json

DESCRIPTION_NAME = 'model_config.json'
FORMAT = 1
SCOPES = ('mmengine', 'mmcv', 'mmdet', 'mmpose', 'mmseg', 'mmpretrain')
# What a model and its pipeline are made of; hooks, loops and the like can write and run anything.
_KINDS = (
    'MODELS',
    'TRANSFORMS',
    'TASK_UTILS',
    'WEIGHT_INITIALIZERS',
    'BATCH_AUGMENTS',
    'KEYPOINT_CODECS',
)
# It evaluates its argument.
_NEVER = ('CameraMotionCompensation',)
# Read by a part of a model, they can make it run code, build what they name, or unpickle.
_PROGRAMS = ('.py', '.pyc', '.json', '.yaml', '.yml', '.pkl', '.pickle')
_METAINFO = '@metainfo'


@dataclass
class DescribedModel:
    """What a model is built from and fed with.

    Args:
        scope (str): The library of the types that name none.
        model (dict): What the runner builds the model from.
        pipeline (list): The transforms of the test data set.
        dataset_meta (dict): What the training's data set says of its classes or keypoints.
        imports (list[str]): What the training imported beside mmadapt, for messages.
        missing (str): Why the model cannot be built from this file; empty if it can.
    """

    scope: str
    model: dict
    pipeline: list
    dataset_meta: dict = field(default_factory=dict)
    imports: list = field(default_factory=list)
    missing: str = ''

    @classmethod
    def of(cls, cfg: Config, dataset_meta: Mapping | None = None) -> 'DescribedModel':
        """Describe the model of a config.

        Args:
            cfg (Config): A whole config; it is not changed.
            dataset_meta (Mapping, optional): The ``metainfo`` of the training's data set.

        Returns:
            DescribedModel: Of plain values, so far as the config has them.
        """
        dataset = cfg.get('test_dataloader') or cfg.get('val_dataloader')
        while isinstance(dataset, Mapping) and 'dataset' in dataset:
            dataset = dataset['dataset']
        # In Python a runner may be given a model or a data set itself.
        built = not isinstance(cfg.get('model'), Mapping)
        pipeline = dataset.get('pipeline') if isinstance(dataset, Mapping) else None
        imports = (cfg.get('custom_imports') or {}).get('imports', [])
        imports = [imports] if isinstance(imports, str) else imports
        return cls(
            cfg.get('default_scope') or 'mmdet',
            {} if built else _plain(model_config(cfg)),
            _plain(pipeline or cfg.get('test_pipeline') or []),
            dict(dataset_meta or {}),
            [name for name in imports if name.partition('.')[0] != 'mmadapt'],
            'its training was given a model, not the config of one' if built else '',
        )

    def to_dict(self) -> dict:
        """Return plain values for JSON; with nothing but the reason where there are others."""
        content: dict = dict(missing=self.missing)
        try:
            if not self.missing:
                content = dict(
                    model=to_json(_with_metainfo(self.model), 'model'),
                    pipeline=to_json(self.pipeline, 'pipeline'),
                    dataset_meta=to_json(self.dataset_meta, 'dataset_meta'),
                )
        except (NotPlainError, OSError) as error:
            content = dict(missing=str(error))
        return dict(format=FORMAT, default_scope=self.scope, imports=self.imports, **content)

    @classmethod
    def read(cls, folder: str) -> 'DescribedModel':
        """Read and check the file in an adapter folder.

        Args:
            folder (str): The folder.

        Returns:
            DescribedModel: What it says.

        Raises:
            UserError: There is none, it is damaged, of a newer version, or names what is not
                registered or could run code.
        """
        path = Path(folder, DESCRIPTION_NAME)
        if not path.is_file():
            raise UserError(
                f'{folder} does not say what its model is built from (it has no '
                f'{DESCRIPTION_NAME}); name the config of its training in its place, and the '
                f'folder behind --adapters'
            )
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            if content['format'] > FORMAT:
                raise UserError(f'{path} was written by a newer version of mmadapt; update it')
            described = cls(
                str(content['default_scope']),
                from_json(content.get('model', {})),
                from_json(content.get('pipeline', [])),
                from_json(content.get('dataset_meta', {})),
                [str(name) for name in content.get('imports', [])],
                str(content.get('missing', '')),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f'{path} is damaged: {type(error).__name__}: {error}') from None
        if described.missing:
            raise UserError(
                f'{path} cannot say all of its model: {described.missing}; name the config of its '
                'training in its place, and the folder behind --adapters'
            )
        check_harmless(described, str(path))
        return described

    @contextmanager
    def config(self) -> Iterator[Config]:
        """The config that the model is built from, while this lasts.

        Yields:
            Config: With ``model``, ``default_scope`` and a test data set of the pipeline.
        """
        with tempfile.TemporaryDirectory() as folder:
            yield Config(
                dict(
                    default_scope=self.scope,
                    model=_as_files(self.model, folder),
                    test_dataloader=dict(dataset=dict(pipeline=self.pipeline)),
                )
            )


def check_harmless(described: DescribedModel, source: str) -> None:
    """Check that building what a file describes imports nothing and runs nothing that it names.

    MMEngine's registries import any dotted name that they do not know, and some parts of models
    read programs, configs or pickles from a path that they are given.

    Args:
        described (DescribedModel): What the file says.
        source (str): The file, for messages.

    Raises:
        UserError: A type is not registered, or a value could be a program.
    """
    if described.scope not in SCOPES:
        raise UserError(f'{source}: default_scope={described.scope!r} is none of {SCOPES}')
    for place, node in _nodes(dict(model=described.model, pipeline=described.pipeline)):
        for key, value in node.items():
            where = f'{place}{key}'
            if key == 'type':
                _check_type(value, described, where, source)
            elif key == 'trust_remote_code' and value:
                raise UserError(f'{source}: {where} would run code from elsewhere: refused')
            elif key != 'checkpoint':
                for text in _texts(value):
                    _check_text(text, where, source)


def _check_type(value, described: DescribedModel, where: str, source: str) -> None:
    """Refuse a type that no registry of the libraries has."""
    scope, dot, name = str(value).rpartition('.')
    scope = scope if dot else described.scope
    if not isinstance(value, str) or scope not in SCOPES or name in _NEVER:
        raise UserError(
            f'{source}: {where}={value!r} is none of the types of {", ".join(SCOPES)} that models '
            'are made of: nothing is imported because a file says so'
        )
    if find_spec(scope) is None:
        raise UserError(
            f'{source}: {where}={value!r} is of {scope}, which is not installed{remedy(scope)}'
        )
    names = registered(scope) if dot else registered(scope) | registered('mmengine')
    if name not in names:
        imports = f'; its training imported {", ".join(described.imports)}, ' + (
            'whose types a config brings: name that of the training in the place of the folder, '
            'and the folder behind --adapters'
        )
        raise UserError(
            f'{source}: nothing of the name {where}={value!r} is registered; nearest: '
            f'{nearest(name, sorted(names))}{imports if described.imports else ""}'
        )


def registered(scope: str) -> set[str]:
    """Return the names of whatever models and pipelines of a library are made of.

    Args:
        scope (str): One of :data:`SCOPES`.
    """
    # What MMCV registers it registers with MMEngine, apart from the functions that are named alike.
    operators = import_module('mmcv.ops').__all__
    import_module('mmcv.transforms')
    if scope in ('mmengine', 'mmcv'):
        return {*operators, *_names('mmengine.registry')}
    return _names(f'{scope}.registry')


def _names(module: str) -> set[str]:
    names: set[str] = set()
    for registry in _registries(module):
        registry.import_from_location()
        names.update(registry.module_dict)
    return names


def _registries(module: str) -> list[Registry]:
    known = vars(import_module(module))
    return [known[kind] for kind in _KINDS if kind in known]


def _check_text(text: str, where: str, source: str) -> None:
    if text.lower().endswith(_PROGRAMS) or osp.isfile(text):
        raise UserError(
            f'{source}: {where}={text!r} names a file that a part of the model would read or run: '
            'refused; the config of the training may say it'
        )
    if '(' in text or '__' in text:
        raise UserError(f'{source}: {where}={text!r} could be code: refused')


def _nodes(node, path: str = '') -> Iterator[tuple[str, dict]]:
    """Yield every dict of a value, and where it stands; what is in a metainfo is data alone."""
    if isinstance(node, dict):
        if path:
            yield path, node
        for key, value in node.items():
            if key != _METAINFO:
                yield from _nodes(value, f'{path}{key}.')
    elif isinstance(node, (list, tuple, set)):
        for index, value in enumerate(node):
            yield from _nodes(value, f'{path}{index}.')


def _texts(value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple, set)):
        for each in value:
            yield from _texts(each)


def _plain(node) -> Any:
    """Return a copy of builtin containers, each class in the place of a type by its name."""
    if isinstance(node, Mapping):
        return {
            key: _name_of(value) if key == 'type' else _plain(value) for key, value in node.items()
        }
    if isinstance(node, (list, tuple)):
        return type(node)(_plain(each) for each in node)
    return node


def _name_of(kind):
    """Return the registered name of a class, as configs in MMEngine's Python style have them."""
    if isinstance(kind, str):
        return kind
    scopes = [scope for scope in SCOPES if find_spec(scope) is not None and scope != 'mmcv']
    for scope in scopes:
        for registry in _registries(f'{scope}.registry'):
            for name, cls in registry.module_dict.items():
                if cls is kind:
                    return f'{scope}.{name}'
    return kind


def _with_metainfo(node) -> Any:
    """Return a copy in which the metainfo files that MMPose's losses read stand themselves."""
    if isinstance(node, dict):
        return {
            key: {_METAINFO: _read_metainfo(value)}
            if key == 'metainfo' and isinstance(value, str)
            else _with_metainfo(value)
            for key, value in node.items()
        }
    if isinstance(node, (list, tuple)):
        return type(node)(_with_metainfo(each) for each in node)
    return node


def _read_metainfo(path: str) -> dict:
    """Read a metainfo file from where MMPose would."""
    if not osp.isfile(path):
        spec = find_spec('mmpose')
        assert spec is not None
        assert spec.origin is not None
        stock = Path(spec.origin).parent / '.mim' / 'configs' / '_base_' / 'datasets'
        path = str(stock / osp.basename(path))
    return Config.fromfile(path).dataset_info.to_dict()


def _as_files(node, folder: str) -> Any:
    """Return a copy in which metainfo stands in files again, which MMPose's losses want."""
    if isinstance(node, dict):
        if _METAINFO in node:
            file = osp.join(folder, f'{len(listdir(folder))}.yaml')
            dump(dict(dataset_info=_listed(node[_METAINFO])), file)
            return file
        return {key: _as_files(value, folder) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(_as_files(each, folder) for each in node)
    return node


def _listed(node) -> Any:
    """Return a copy of what YAML has words for."""
    if isinstance(node, dict):
        return {key: _listed(value) for key, value in node.items()}
    return [_listed(each) for each in node] if isinstance(node, (list, tuple)) else node
