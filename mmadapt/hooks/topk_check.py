"""Whether a classifier has as many classes as its accuracy is taken of."""

from collections.abc import Iterable

from torch import nn

from ..errors import UserError


def check_topk(model: nn.Module, metrics: Iterable, where: str) -> None:
    """Check that no top-k accuracy is asked for of fewer than k classes.

    Args:
        model (nn.Module): A model, not wrapped.
        metrics (list[BaseMetric]): Evaluators.
        where (str): The config's key of them.

    Raises:
        UserError: One is, so that the first validation or training step would fail.
    """
    head = getattr(model, 'head', None)
    classes = getattr(head, 'num_classes', None)
    if not isinstance(classes, int):
        return
    for metric in metrics:
        wanted = getattr(metric, 'topk', None)
        if type(metric).__name__ == 'Accuracy' and _exceeds(wanted, classes):
            raise UserError(_line(f'{where}.topk', wanted, classes, 'the first validation'))
    wanted = getattr(head, 'topk', None)
    if getattr(head, 'cal_acc', False) and _exceeds(wanted, classes):
        raise UserError(_line('model.head.topk', wanted, classes, 'the first training step'))


def _exceeds(topk, classes: int) -> bool:
    return isinstance(topk, (tuple, list)) and max(topk, default=0) > classes


def _line(option: str, topk, classes: int, when: str) -> str:
    right = tuple(k for k in topk if k <= classes) or (1,)
    return (
        f'{option}={tuple(topk)} of {classes} classes: {when} would fail; write topk={right} there'
    )
