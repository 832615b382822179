"""Metrics that would end in an error after an epoch, or whose figures would be overwritten."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ..logs import warn
from ..type_names import type_name


def check_evaluators(cfg: Mapping, loops: Iterable[str]) -> Iterator[str]:
    """Find what is wrong with the evaluators of a run.

    Args:
        cfg (dict or Config): A whole config.
        loops (Iterable[str]): Which of 'train', 'val' and 'test' run.

    Yields:
        str: A line each: where, what happens, what to write instead.
    """
    for loop in loops:
        evaluator = cfg.get(f'{loop}_evaluator') or []
        metrics = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
        for index, metric in enumerate(metrics):
            where = f'{loop}_evaluator' + (f'.{index}' if metrics is evaluator else '')
            if isinstance(metric, Mapping):
                yield from _check(metric, where)


def _check(metric: Mapping, where: str) -> Iterator[str]:
    kind, asked = type_name(metric.get('type')), metric.get('metric')
    if kind == 'LVISMetric' and not hasattr(np, 'float') and _reads_float():
        yield (
            f'{where}.type={metric["type"]!r}: the installed lvis reads numpy.float, which numpy '
            f'{np.__version__} has no more, and would end the first validation; let a module that '
            'custom_imports names set it, `import numpy; numpy.float = float`, or take CocoMetric'
        )
    boxes_and_masks = isinstance(asked, (list, tuple)) and {'bbox', 'segm'} <= {*asked}
    if kind == 'CocoMetric' and metric.get('classwise') and boxes_and_masks:
        warn(
            f'{where}: classwise=True with metric={list(asked or ())}: the figures of boxes and of '
            'masks of a class have one name, and the last ones stay; write one evaluator for each, '
            "[dict(type='CocoMetric', metric='bbox', prefix='bbox', ...), dict(type='CocoMetric', "
            "metric='segm', prefix='segm', ...)]"
        )


def _reads_float() -> bool:
    """Return whether the evaluation of the installed lvis names numpy.float."""
    spec = find_spec('lvis')
    if spec is None or spec.origin is None:
        return False
    source = Path(spec.origin).with_name('eval.py')
    return source.is_file() and 'np.float)' in source.read_text(encoding='utf-8')
