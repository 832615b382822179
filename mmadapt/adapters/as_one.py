"""Functions of weights that are seen from outside as one function each."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function


def as_one(function: Callable, tensor: Tensor, *arguments) -> Any:
    """Call a function so that a mode that watches torch's functions sees one call.

    A layer makes its weight by a dozen operations on small tensors. For ``memory.rematerialize``
    they are one, which it can make again, and looking at each would cost more than they do.

    Args:
        function (callable): Computes tensors from its arguments and nothing else that changes.
        tensor (Tensor): Its first argument.
        arguments: The others: tensors, and dicts and tuples of these.

    Returns:
        What it returns.
    """
    # Not the stand-ins of torch.fx, which looks at each operation.
    if isinstance(tensor, Tensor) and has_torch_function((tensor,)):
        return handle_torch_function(as_one, (tensor,), function, tensor, *arguments)
    return function(tensor, *arguments)
