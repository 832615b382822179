"""What merging costs: the difference it makes, and the time of the merged model."""

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .cases import Case
from .variants import Variant


@torch.no_grad()
def merge_error(variant: Variant, case: Case) -> float:
    """Merge the perturbed adapters of a variant and return what that changes.

    Args:
        variant (Variant): It is merged and in eval mode afterwards.
        case (Case): What it is built from.

    Returns:
        float: The largest difference of an output, relative to the largest value of that output,
        in float32.
    """
    variant.model.eval()
    variant.perturb()
    choices: list[Tensor] = []
    with torch.backends.cudnn.flags(allow_tf32=False):
        with _Choices(choices, record=True):
            before = case.outputs(variant.model)
        variant.merge()
        with _Choices(choices, record=False):
            after = case.outputs(variant.model.eval())
    errors = [
        ((a - b).abs().max() / b.abs().max()).item()
        for a, b in zip(after, before, strict=True)
        if b.abs().max() > 0
    ]
    return max(errors)


class _Choices(TorchFunctionMode):
    """Makes `topk` choose what it chose before.

    DINO decodes the pixels with the best scores. Two scores that differ in the last bit may change
    places, and with that whole outputs, which says nothing about the error of a merge.
    """

    def __init__(self, indices: list[Tensor], record: bool) -> None:
        super().__init__()
        self._indices, self._record = indices, record

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func not in (torch.topk, Tensor.topk):
            return result
        if self._record:
            self._indices.append(result.indices)
            return result
        indices = self._indices.pop(0)
        dim = (kwargs or {}).get('dim', args[2] if len(args) > 2 else -1)
        return torch.return_types.topk((args[0].gather(dim, indices), indices))
