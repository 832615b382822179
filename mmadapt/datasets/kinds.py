"""Which data set of which library a config names, without importing the library."""

from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.registry import METRICS

from .file_checks import dataset_class, leaf_datasets


def is_kind(cls: Any, library: str, name: str) -> bool:
    """Return whether a class is one of a library's that is called so, or a subclass."""
    return isinstance(cls, type) and any(
        base.__name__ == name and base.__module__.partition('.')[0] == library
        for base in cls.__mro__
    )


def reads_as(cls: type, library: str, name: str, methods: Sequence[str]) -> bool:
    """Return whether a subclass of a library's class has left some of its methods as they are."""
    base = next(
        base
        for base in cls.__mro__
        if base.__name__ == name and base.__module__.partition('.')[0] == library
    )
    return all(getattr(cls, method) is getattr(base, method) for method in methods)


def datasets_of(
    cfg: Config, loop: str, library: str, name: str
) -> Iterator[tuple[str, dict, type]]:
    """Find the data sets of a loop that are of a kind.

    Args:
        cfg (Config): The whole config.
        loop (str): 'train', 'val' or 'test'.
        library (str): Whose.
        name (str): The class, or a base of it.

    Yields:
        tuple[str, dict, type]: Place in the config, config and class of each.
    """
    scope = cfg.get('default_scope') or 'mmdet'
    dataset = (cfg.get(f'{loop}_dataloader') or {}).get('dataset')
    for place, leaf in leaf_datasets(dataset, f'{loop}_dataloader.dataset'):
        cls = dataset_class(leaf, scope)
        if cls is not None and is_kind(cls, library, name):
            yield place, leaf, cls


def evaluators_of(cfg: Config, loop: str, library: str, name: str) -> Iterator[tuple[str, dict]]:
    """Find the evaluators of a loop that are of a kind.

    Args:
        cfg (Config): The whole config.
        loop (str): 'val' or 'test'.
        library (str): Whose.
        name (str): The class, or a base of it.

    Yields:
        tuple[str, dict]: Place in the config, and config of each.
    """
    scope = cfg.get('default_scope') or 'mmdet'
    evaluators = cfg.get(f'{loop}_evaluator') or []
    several = isinstance(evaluators, (list, tuple))
    for index, evaluator in enumerate(evaluators if several else [evaluators]):
        kind = evaluator.get('type') if isinstance(evaluator, dict) else None
        if isinstance(kind, str):
            with METRICS.switch_scope_and_registry(scope) as registry:
                kind = registry.get(kind)
        if is_kind(kind, library, name):
            yield f'{loop}_evaluator' + (f'.{index}' if several else ''), evaluator
