"""Language models that detectors are built with, looked for before anything waits for them.

What transformers cannot get it asks for five times, with longer and longer pauses, a file at a
time: a minute, at whose end there is a traceback. Here the same is one question and one line.
"""

import importlib.util
import os.path as osp
from collections.abc import Iterator
from pathlib import Path

from .errors import UserError
from .extras import remedy
from .hub import Wanted, is_cached, why_not_fetched

# Of each line one file is needed: the sizes, the words, the weights.
_FILES = (
    ('config.json',),
    ('vocab.txt', 'tokenizer.json'),
    ('model.safetensors', 'pytorch_model.bin'),
)


def check_language_models(model: dict | list, place: str = 'model') -> None:
    """Check that every language model that a detector's config names can be built.

    Args:
        model (dict or list): The model's config.
        place (str): Where it stands, as --cfg-options has it. Defaults to ``'model'``.

    Raises:
        UserError: transformers is not installed, a folder lacks a file, or there is neither a
            folder nor a download of that name, and no network.
    """
    for where, name in language_model_names(model, place):
        if importlib.util.find_spec('transformers') is None:
            raise UserError(
                f'{where}={name} needs the package transformers, which is not installed'
                f'{remedy("transformers")}'
            )
        if osp.isdir(name):
            lacks = [
                files for files in _FILES if not any((Path(name) / f).is_file() for f in files)
            ]
            if lacks:
                raise UserError(
                    f'{where}: the folder {name} lacks {" or ".join(lacks[0])}; '
                    + _remedy(where, 'bert-base-uncased')
                )
        elif not all(map(is_cached, wanted := language_model_files(name))):
            reason = why_not_fetched(wanted[0])
            if reason is not None:
                raise UserError(
                    f'{where}={name} is no folder here, is not in the cache of Hugging Face, and '
                    f'cannot be downloaded ({reason}); {_remedy(where, name)}'
                )


def language_model_files(name: str) -> list[Wanted]:
    """Return what transformers reads from the hub when a language model is built.

    Args:
        name (str): The repository, or a folder, for which nothing is read.
    """
    return [] if osp.isdir(name) else [Wanted(name, files) for files in _FILES]


def language_model_names(node: dict | list, place: str = 'model') -> Iterator[tuple[str, str]]:
    """Find the language models that a detector's config names, at any depth.

    Args:
        node (dict or list): The model's config.
        place (str): Where it stands. Defaults to ``'model'``.

    Yields:
        tuple[str, str]: Place and name of each; a folder, or a repository of the hub.
    """
    if isinstance(node, dict):
        own = node.get('language_model')
        if isinstance(own, dict) and isinstance(own.get('name'), str):
            yield f'{place}.language_model.name', own['name']
        for key, value in node.items():
            yield from language_model_names(value, f'{place}.{key}')
    elif isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from language_model_names(item, f'{place}.{index}')


def _remedy(where: str, name: str) -> str:
    return (
        f'where there is a network, `hf download {name} --local-dir bert` fills a folder, which '
        f'--cfg-options {where}=bert names'
    )
