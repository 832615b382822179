"""What a model is built from, as data beside its adapter: ``model_config.json``.

With it an adapter folder can be used without the config of its training. The file may come from
anywhere. So it is data: :mod:`mmadapt.files.harmless` says what may stand in it, and nothing is
imported while it is built.
"""

import json
import os.path as osp
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from os import listdir
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..config_model import model_config
from ..errors import UserError
from .harmless import METAINFO, SCOPES, check_harmless, nothing_imported, registries
from .plain_values import NotPlainError, from_json, to_json

DESCRIPTION_NAME = 'model_config.json'
FORMAT = 1


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
        # In Python a runner may be given a model itself.
        built = not isinstance(cfg.get('model'), Mapping)
        imports = (cfg.get('custom_imports') or {}).get('imports', [])
        imports = [imports] if isinstance(imports, str) else imports
        return cls(
            cfg.get('default_scope') or 'mmdet',
            {} if built else _plain(model_config(cfg)),
            _plain(test_pipeline(cfg)),
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
                _of(dict, content.get('model', {})),
                _of(list, content.get('pipeline', [])),
                _of(dict, content.get('dataset_meta', {})),
                [str(name) for name in content.get('imports', [])],
                str(content.get('missing', '')),
            )
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise UserError(f'{path} is damaged: {type(error).__name__}: {error}') from None
        if described.missing:
            raise UserError(
                f'{path} cannot say all of its model: {described.missing}; name the config of its '
                'training in its place, and the folder behind --adapters'
            )
        check_harmless(
            described.model, described.pipeline, described.scope, described.imports, str(path)
        )
        return described

    @contextmanager
    def config(self) -> Iterator[Config]:
        """The config that the model is built from, while this lasts.

        Yields:
            Config: With ``model``, ``default_scope`` and a test data set of the pipeline.
        """
        with tempfile.TemporaryDirectory() as folder, nothing_imported():
            yield Config(
                dict(
                    default_scope=self.scope,
                    model=_as_files(self.model, folder),
                    test_dataloader=dict(dataset=dict(pipeline=self.pipeline)),
                )
            )


def test_pipeline(cfg: Config) -> list:
    """Return the transforms that images go through when a model is tested or used.

    Args:
        cfg (Config): A whole config; a runner may have been given a data set itself.
    """
    dataset = cfg.get('test_dataloader') or cfg.get('val_dataloader')
    while isinstance(dataset, Mapping) and 'dataset' in dataset:
        dataset = dataset['dataset']
    pipeline = dataset.get('pipeline') if isinstance(dataset, Mapping) else None
    return list(pipeline or cfg.get('test_pipeline') or [])


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
        for registry in registries(f'{scope}.registry'):
            for name, cls in registry.module_dict.items():
                if cls is kind:
                    return f'{scope}.{name}'
    return kind


def _with_metainfo(node) -> Any:
    """Return a copy in which the metainfo files that MMPose's losses read stand themselves."""
    if isinstance(node, dict):
        return {
            key: {METAINFO: _read_metainfo(value)}
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
    info = Config.fromfile(path).dataset_info.to_dict()
    return {key: value for key, value in info.items() if key != 'paper_info'}  # nobody reads it


def _as_files(node, folder: str) -> Any:
    """Return a copy in which metainfo stands in files again, which MMPose's losses want."""
    if isinstance(node, dict):
        if METAINFO in node:
            file = Path(folder, f'{len(listdir(folder))}.json')
            # Nothing in it is more than a name or a number: check_harmless has seen to that.
            file.write_text(json.dumps(dict(dataset_info=_listed(node[METAINFO]))))
            return str(file)
        return {key: _as_files(value, folder) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(_as_files(each, folder) for each in node)
    return node


def _listed(node) -> Any:
    """Return a copy of what JSON has words for."""
    if isinstance(node, dict):
        return {str(key): _listed(value) for key, value in node.items()}
    return [_listed(each) for each in node] if isinstance(node, (list, tuple)) else node


def _of(kind: type, value) -> Any:
    value = from_json(value)
    if not isinstance(value, kind):
        raise TypeError(f'a {type(value).__name__} where a {kind.__name__} is to be')
    return value
