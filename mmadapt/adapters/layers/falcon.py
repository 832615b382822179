"""The adapted linear layer of Falcon."""

from torch import Tensor
from transformers.models.falcon.modeling_falcon import FalconLinear

from .linear import LinearLayer


class AdaptedFalconLinear(LinearLayer, FalconLinear):
    """An adapted FalconLinear, which adds its bias to a product that has been rounded."""

    stock_class = FalconLinear

    def run(self, x: Tensor, *, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        product = x @ weight.T
        return product if bias is None else product + bias


CLASSES = (AdaptedFalconLinear,)
