"""What parts of a model read from the Hugging Face hub, looked for before anything waits for it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

from torch import nn

from .hub import Wanted, from_the_cache
from .language_models import (
    check_language_models,
    language_model_files,
    language_model_names,
)
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


def _files(model: dict | list) -> Iterator[Wanted]:
    for _, name in language_model_names(model):
        yield from language_model_files(name)
    for _, wanted in timm_files(model):
        yield wanted
