"""Adapted Linear layers."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dropout import drop_and_map, map_down
from .weight import WeightLayer


class LinearLayer(WeightLayer):
    """How an adapted Linear computes."""

    method_options = frozenset({'dropout', 'compute'})
    in_features: int
    out_features: int

    def run(self, x: Tensor, *, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        return F.linear(x, weight, bias)

    def branch(self, x: Tensor, *, down: Tensor, up: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)`` through ``r`` features."""
        return F.linear(map_down(x, down), up)

    def branch_behind_dropout(
        self, x: Tensor, probability: float, *, down: Tensor, up: Tensor
    ) -> Tensor | None:
        """Map features some of which are dropped."""
        if torch.compiler.is_compiling():
            return super().branch_behind_dropout(x, probability, down=down, up=up)
        return F.linear(drop_and_map(x, down, probability), up)

    def is_factored(self, x: Tensor) -> bool:
        """Compare the multiplications of both ways; what is kept, if A is frozen."""
        compute = getattr(self.adapter, 'compute', 'merged')
        if compute != 'auto':
            return compute == 'factored'
        n, m, r = self.in_features, self.out_features, self.adapter.r
        if self.adapter.freeze_A and r < n:
            return True  # A x is all that is kept: neither W nor A needs x for its gradient
        tokens = x.numel() // n
        # Forward and backward. Merged: the product B A and its two gradients, and the gradient of
        # the whole weight. Factored: both factors for each token, and their gradients.
        return 3 * tokens * r * (n + m) < 3 * r * n * m + tokens * n * m


class AdaptedLinear(LinearLayer, nn.Linear):
    """An adapted Linear."""

    stock_class = nn.Linear


CLASSES = (AdaptedLinear,)
