"""Adapted linear layers of transformers that are not torch's own, each known to one family."""

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from .linear import LinearLayer


class AdaptedConv1D(LinearLayer, Conv1D):
    """An adapted Conv1D, the linear layer of GPT-2, whose weight is ``(in, out)``."""

    stock_class = Conv1D
    weight: nn.Parameter

    @property
    def in_features(self) -> int:
        """int: The number of inputs."""
        return self.weight.shape[0]

    @property
    def out_features(self) -> int:
        """int: The number of outputs."""
        return self.weight.shape[1]

    def canonical(self, weight: Tensor) -> Tensor:
        """Turn ``(in, out)`` round."""
        return weight.t()

    def stock_layout(self, weight: Tensor) -> Tensor:
        """Turn ``(out, in)`` round."""
        return weight.t()

    def run(self, x: Tensor, *, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        rows = x.reshape(-1, x.shape[-1])
        rows = rows @ weight if bias is None else torch.addmm(bias, rows, weight)
        return rows.view(*x.shape[:-1], weight.shape[1])


CLASSES = (AdaptedConv1D,)
