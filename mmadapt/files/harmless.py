"""What a description of a model may say: whoever wrote it, building it imports and runs nothing.

MMEngine's registries import any dotted name that they do not know; some parts of models read
programs, configs or pickles from a path that they are given, evaluate a text, or take a class by
its name. What is known of these is refused before anything is built, and while it is built no name
is imported by a registry (:func:`nothing_imported`), wherever in a description it may stand.
"""

import os.path as osp
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from mmengine.registry import Registry
from mmengine.registry import registry as stock

from ..errors import UserError
from ..extras import remedy
from ..values import nearest

SCOPES = ('mmengine', 'mmcv', 'mmdet', 'mmpose', 'mmseg', 'mmpretrain')
METAINFO = '@metainfo'
"""The key under which the metainfo stands that MMPose's losses read from a file."""

# What a model and its pipeline are made of; hooks, loops and the like can write and run anything.
_KINDS = (
    'MODELS',
    'TRANSFORMS',
    'TASK_UTILS',
    'WEIGHT_INITIALIZERS',
    'BATCH_AUGMENTS',
    'KEYPOINT_CODECS',
)
# They evaluate or import an argument, unpickle files of their own, or hand arguments on to a loader
# that would.
_NEVER = {
    'AutoModelForCausalLM',
    'CameraMotionCompensation',
    'Detectron2Wrapper',
    'HuggingFaceClassifier',
    'RAMNormal',
    'RAMOpenset',
    'VPD',
}
_NO_KEYS = {'sys_path', 'trust_remote_code', 'weights_only'}
# Read by a part of a model, they can make it run code, build what they name, or unpickle.
_PROGRAMS = ('.py', '.pyc', '.json', '.yaml', '.yml', '.pkl', '.pickle')
_BACKENDS = {'local', 'disk', 'http'}
_DTYPE = re.compile(r'(torch\.|np\.|numpy\.)?[a-z]+\d*', re.ASCII)
_NAME = re.compile(r"[\w .,:;/+#'-]*")


def check_harmless(
    model: dict, pipeline: list, scope: str, imports: Sequence[str], source: str
) -> None:
    """Check that building what a file describes imports nothing and runs nothing that it names.

    Args:
        model (dict): What the model is built from.
        pipeline (list): The transforms of its images.
        scope (str): The library of the types that name none.
        imports (Sequence[str]): What the training imported, for messages.
        source (str): The file, for messages.

    Raises:
        UserError: A type is not registered, or a value could be a program.
    """
    if scope not in SCOPES:
        raise UserError(f'{source}: default_scope={scope!r} is none of {SCOPES}')
    for place, node in _nodes(dict(model=model, pipeline=pipeline)):
        for key, value in node.items():
            where = f'{place}{key}'
            if key in _NO_KEYS or (key == '_scope_' and value not in SCOPES):
                raise UserError(f'{source}: {where} could load code from elsewhere: refused')
            if key == METAINFO:
                _check_metainfo(node, place, source)
            elif key == 'type':
                _check_type(value, scope, imports, where, source)
            elif key in ('backend_args', 'file_client_args') and value is not None:
                if not isinstance(value, dict) or value.get('backend') not in _BACKENDS:
                    raise UserError(
                        f'{source}: {where}={value!r}: images are read from one of '
                        f'{sorted(_BACKENDS)} only'
                    )
            elif key == 'dtype' and isinstance(value, str) and not _DTYPE.fullmatch(value):
                raise UserError(f'{source}: {where}={value!r} is the name of no type of numbers')
            elif key != 'checkpoint':
                for text in _texts(value):
                    _check_text(text, where, source)


@contextmanager
def nothing_imported() -> Iterator[None]:
    """Let no registry import what it does not know by its name, while this lasts.

    Yields:
        None: Nothing.
    """
    whole: Any = stock
    own = whole.get_object_from_string, whole.import_module

    def refuse(name: str):
        raise UserError(f'{name!r} is registered nowhere: nothing is imported for its name')

    def import_library(name: str):
        return own[1](name) if name.partition('.')[0] in SCOPES else refuse(name)

    whole.get_object_from_string, whole.import_module = refuse, import_library
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__context__, UserError):  # the registry has taken it for its own
            raise error.__context__ from None
        raise
    finally:
        whole.get_object_from_string, whole.import_module = own


def _check_type(value, own: str, imports: Sequence[str], where: str, source: str) -> None:
    """Refuse a type that no registry of the libraries has."""
    scope, dot, name = str(value).rpartition('.')
    scope = scope if dot else own
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
        said = f'; its training imported {", ".join(imports)}, ' + (
            'whose types a config brings: name that of the training in the place of the folder, '
            'and the folder behind --adapters'
        )
        raise UserError(
            f'{source}: nothing of the name {where}={value!r} is registered; nearest: '
            f'{nearest(name, sorted(names))}{said if imports else ""}'
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


def registries(module: str) -> list[Registry]:
    """Return the registries of what models and pipelines are made of.

    Args:
        module (str): Where a library has them, such as ``'mmdet.registry'``.
    """
    known = vars(import_module(module))
    return [known[kind] for kind in _KINDS if kind in known]


def _names(module: str) -> set[str]:
    names: set[str] = set()
    for registry in registries(module):
        registry.import_from_location()
        names.update(registry.module_dict)
    return names


def _check_metainfo(node: dict, place: str, source: str) -> None:
    """Refuse a metainfo that is more than names and numbers, or stands where none is read."""
    if len(node) != 1 or not place.startswith('model.') or not place.endswith('.metainfo.'):
        raise UserError(f'{source}: {place}{METAINFO} is read nowhere: refused')
    for text in _all_texts(node[METAINFO]):
        if not _NAME.fullmatch(text):
            raise UserError(
                f'{source}: {place.rstrip(".")} has {text!r}, which is no name: refused'
            )


def _check_text(text: str, where: str, source: str) -> None:
    plain = unicodedata.normalize('NFKC', text)
    if plain.lower().endswith(_PROGRAMS) or osp.isfile(osp.expanduser(text)) or plain == 'pickle':
        raise UserError(
            f'{source}: {where}={text!r} names a file that a part of the model would read or run: '
            'refused; the config of the training may say it'
        )
    if '(' in plain or '__' in plain:
        raise UserError(f'{source}: {where}={text!r} could be code: refused')


def _nodes(node, path: str = '') -> Iterator[tuple[str, dict]]:
    """Yield every dict of a value, and where it stands, but what is in a metainfo."""
    if isinstance(node, dict):
        if path:
            yield path, node
        for key, value in node.items():
            if key != METAINFO:
                yield from _nodes(value, f'{path}{key}.')
    elif isinstance(node, (list, tuple, set)):
        for index, value in enumerate(node):
            yield from _nodes(value, f'{path}{index}.')


def _texts(value) -> Iterator[str]:
    """Yield the texts in a value that stand in no dict of their own."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple, set)):
        for each in value:
            yield from _texts(each)


def _all_texts(value) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _all_texts(key)
            yield from _all_texts(each)
    elif isinstance(value, (list, tuple, set)):
        for each in value:
            yield from _all_texts(each)
    elif isinstance(value, str):
        yield value
