"""What of the Hugging Face hub is in the cache, and not waiting for it where it is out of reach.

Its client asks five times for each file, with longer and longer pauses, and takes the one that is
in its cache only then: half a minute a file. Here the same is one question.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import NamedTuple
from urllib.parse import quote

from .downloads import Refusal, ask

_ADDRESS = 'https://huggingface.co'
# What the hub may answer to us and not to its client, who sends the token of a user; none is
# ever read here.
_TO_STRANGERS = (401, 403, 429)


class Wanted(NamedTuple):
    """Files of a repository, of which the first is read that there is.

    Attributes:
        name (str): The repository, such as ``'bert-base-uncased'``.
        files (tuple[str, ...]): Names in it.
        revision (str): Its branch, tag or commit. Defaults to ``'main'``.
        folder (str, optional): The cache; None is the one of the client.
    """

    name: str
    files: tuple[str, ...]
    revision: str = 'main'
    folder: str | None = None


def is_cached(wanted: Wanted) -> bool:
    """Return whether one of some files of a repository is in the cache.

    Args:
        wanted (Wanted): The files.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    name, files, revision, folder = wanted
    try:
        return any(
            isinstance(try_to_load_from_cache(name, file, folder, revision), str) for file in files
        )
    except HFValidationError:  # no name there could be; it was to be a folder
        return False


def why_not_fetched(wanted: Wanted) -> str | None:
    """Return why no file can be fetched from the hub, None where one can, or one cannot tell.

    Args:
        wanted (Wanted): The files.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return 'HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set'
    reason = None
    for file in wanted.files:
        found = refusal(_address(wanted, file))
        if found is None or found.slow or found.status in _TO_STRANGERS:
            return None
        reason = found.reason
        if found.status is None:  # and so are the others
            break
    refusal.cache_clear()  # who is told it mends it, and asks again, in a notebook for instance
    return reason


@lru_cache
def refusal(address: str) -> Refusal | None:
    """Return what comes of asking the hub for a file; it is asked once in a process.

    A run asks when it is checked, and whenever its model is built: on a slow network each question
    would take its whole time again.

    Args:
        address (str): The file's.
    """
    return ask(address)


@contextmanager
def from_the_cache(wanted: list[Wanted]) -> Iterator[None]:
    """Take files from the cache without asking the hub for them, where that is out of reach.

    Where one of them is not in the cache, the client is left to ask for it as it does.

    Args:
        wanted (list[Wanted]): What is read while this lasts.

    Yields:
        None: Nothing.
    """
    if find_spec('huggingface_hub') is None or not _goes_without_the_hub(wanted):
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


def _goes_without_the_hub(wanted: list[Wanted]) -> bool:
    """Return whether files are all in the cache, and nobody answers at the hub."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or not wanted or not all(map(is_cached, wanted)):
        return False
    found = refusal(_address(wanted[0], wanted[0].files[0]))
    return found is not None and found.status is None


def _address(wanted: Wanted, file: str) -> str:
    hub = os.environ.get('HF_ENDPOINT', _ADDRESS).rstrip('/')
    return f'{hub}/{wanted.name}/resolve/{quote(wanted.revision, safe="")}/{file}'
