"""What parts of a model read from the Hugging Face hub, looked for before anything waits for it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from os.path import isdir

from torch import nn

from .hub import from_the_cache
from .language_models import check_language_models, language_model_names
from .timm_weights import check_timm_weights, timm_files


def check_hub_parts(model: dict | list) -> None:
    """Check that every part of a model that the hub provides can be built.

    Args:
        model (dict or list): The model's config.

    Raises:
        UserError: A package is not installed, or what is read is neither in the cache nor can it be
            downloaded.
    """
    check_language_models(model)
    check_timm_weights(model)


def building_from_the_cache(model: dict | list | nn.Module) -> AbstractContextManager[None]:
    """Build a model, and do not wait for the hub where it is out of reach.

    Args:
        model (dict, list or nn.Module): The model's config; one that is built reads nothing.

    Returns:
        AbstractContextManager[None]: To be entered while it is built.
    """
    return from_the_cache([] if isinstance(model, nn.Module) else [*_files(model)])


def _files(model: dict | list) -> Iterator[tuple[str, str]]:
    for _, name in language_model_names(model):
        if not isdir(name):
            yield name, 'config.json'
    for _, name, files in timm_files(model):
        yield name, files[0]
