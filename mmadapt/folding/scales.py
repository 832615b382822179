"""Whether all scales of a norm are far from zero, without waiting for the device that has them.

To read a value of a GPU is to wait until it has done all that it was given, once for every layer.
So the answer that counts there is the one of the step before, which has arrived by now.
"""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

SMALLEST_SCALE = 1e-2

# Not attributes of the norms: an event can neither be copied nor pickled.
_ANSWERS: WeakKeyDictionary = WeakKeyDictionary()


def far_from_zero(norm: Any) -> bool:
    """Return whether no ``ssf_scale`` of a norm is below ``SMALLEST_SCALE``.

    On a GPU an answer that has become wrong is found one step late. Within a step it is the same,
    also where a block is computed again in the backward pass.
    """
    scale = norm.ssf_scale.detach()
    if not _is_waited_for(scale):
        return bool(_are_large(scale))
    return _ANSWERS.setdefault(norm, LateAnswer()).of(scale)


def has_passed_backward(norm: nn.Module) -> None:
    """Note that the step of a norm ends: what comes next computes with other scales."""
    if norm in _ANSWERS:
        _ANSWERS[norm].is_old = True


class LateAnswer:
    """The answer of one norm, and the one that is under way."""

    def __init__(self) -> None:
        self._is_far = False
        self._question: _Question | None = None
        self.is_old = True

    def of(self, scale: Tensor) -> bool:
        """Return the answer that there is; what was no is asked again, and waited for."""
        if self.is_old and not _in_backward():
            if self._is_far and self._question is not None and self._question.is_answered():
                self._is_far = self._question.answer()
            self._question, self.is_old = _Question(scale), False
        if not self._is_far:
            self._is_far = _Question(scale).answer()
        return self._is_far


class _Question:
    """What is asked of a GPU at one moment."""

    def __init__(self, scale: Tensor) -> None:
        self._kept = torch.empty((), dtype=torch.bool, pin_memory=True)
        self._kept.copy_(_are_large(scale), non_blocking=True)
        self._arrives = torch.cuda.Event()
        self._arrives.record(torch.cuda.current_stream(scale.device))

    def is_answered(self) -> bool:
        return self._arrives.query()

    def answer(self) -> bool:
        self._arrives.synchronize()
        return bool(self._kept)


def _are_large(scale: Tensor) -> Tensor:
    return (scale.abs() > SMALLEST_SCALE).all()


def _is_waited_for(scale: Tensor) -> bool:
    return scale.is_cuda


def _in_backward() -> bool:
    # As torch.utils.checkpoint knows that it computes again.
    return torch._C._current_graph_task_id() != -1
