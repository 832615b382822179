"""Language models that detectors are built with, looked for before anything waits for them.

What transformers cannot get it asks for five times, with longer and longer pauses, a file at a
time: a minute, at whose end there is a traceback. Here the same is one question and one line.
"""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from .downloads import why_not_downloaded
from .errors import UserError
from .extras import remedy

# Of each line one file is needed: the sizes, the words, the weights.
_FILES = (
    ('config.json',),
    ('vocab.txt', 'tokenizer.json'),
    ('model.safetensors', 'pytorch_model.bin'),
)
_ADDRESS = 'https://huggingface.co'


def check_language_models(model: dict | list, place: str = 'model') -> None:
    """Check that every language model that a detector's config names can be built.

    Args:
        model (dict or list): The model's config.
        place (str): Where it stands, as --cfg-options has it. Defaults to ``'model'``.

    Raises:
        UserError: transformers is not installed, a folder lacks a file, or there is neither a
            folder nor a download of that name, and no network.
    """
    for where, name in _names(model, place):
        if importlib.util.find_spec('transformers') is None:
            raise UserError(
                f'{where}={name} needs the package transformers, which is not installed'
                f'{remedy("transformers")}'
            )
        if os.path.isdir(name):
            lacks = [
                files for files in _FILES if not any((Path(name) / f).is_file() for f in files)
            ]
            if lacks:
                raise UserError(
                    f'{where}: the folder {name} lacks {" or ".join(lacks[0])}; '
                    + _remedy(where, 'bert-base-uncased')
                )
        elif not all(any(_is_cached(name, file) for file in files) for files in _FILES):
            reason = _why_not(name)
            if reason is not None:
                raise UserError(
                    f'{where}={name} is no folder here, is not in the cache of Hugging Face, and '
                    f'cannot be downloaded ({reason}); {_remedy(where, name)}'
                )


def _names(node, place: str) -> Iterator[tuple[str, str]]:
    """Yield the place and name of every language model, at any depth."""
    if isinstance(node, dict):
        own = node.get('language_model')
        if isinstance(own, dict) and isinstance(own.get('name'), str):
            yield f'{place}.language_model.name', own['name']
        for key, value in node.items():
            yield from _names(value, f'{place}.{key}')
    elif isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _names(item, f'{place}.{index}')


def _is_cached(name: str, file: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, file), str)
    except HFValidationError:  # no name there could be; it was to be a folder
        return False


def _why_not(name: str) -> str | None:
    if any(os.environ.get(key, '0') != '0' for key in ('HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE')):
        return 'HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set'
    address = os.environ.get('HF_ENDPOINT', _ADDRESS).rstrip('/')
    return why_not_downloaded(f'{address}/{name}/resolve/main/config.json')


def _remedy(where: str, name: str) -> str:
    return (
        f'where there is a network, `hf download {name} --local-dir bert` fills a folder, which '
        f'--cfg-options {where}=bert names'
    )
