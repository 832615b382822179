"""What of the Hugging Face hub is in the cache, and not waiting for it where it is out of reach.

Its client asks five times for each file, with longer and longer pauses, and takes the one that is
in its cache only then: half a minute a file. Here the same is one question.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec

from .downloads import why_not_downloaded

_ADDRESS = 'https://huggingface.co'


def is_cached(name: str, files: tuple[str, ...]) -> bool:
    """Return whether one of some files of a repository is in the cache.

    Args:
        name (str): The repository, such as ``'bert-base-uncased'``.
        files (tuple[str, ...]): Names in it, one of which is needed.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return any(isinstance(try_to_load_from_cache(name, file), str) for file in files)
    except HFValidationError:  # no name there could be; it was to be a folder
        return False


def why_not_fetched(name: str, file: str) -> str | None:
    """Return why a file cannot be fetched from the hub, None where it can, or one cannot tell.

    Args:
        name (str): The repository.
        file (str): A name in it.
    """
    if any(os.environ.get(key, '0') != '0' for key in ('HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE')):
        return 'HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set'
    address = os.environ.get('HF_ENDPOINT', _ADDRESS).rstrip('/')
    return why_not_downloaded(f'{address}/{name}/resolve/main/{file}')


@contextmanager
def from_the_cache(files: list[tuple[str, str]]) -> Iterator[None]:
    """Take files from the cache without asking the hub for them, where that cannot be reached.

    Args:
        files (list[tuple[str, str]]): Repositories of what is read while this lasts, and a file in
            each; nothing is asked where there are none.

    Yields:
        None: Nothing.
    """
    if find_spec('huggingface_hub') is None or not any(why_not_fetched(*each) for each in files):
        yield
        return
    from huggingface_hub import constants, utils

    # Up to version 1 a connection keeps what it was told when it was made.
    forget = getattr(utils, 'reset_sessions', partial(bool))
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    forget()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        forget()
