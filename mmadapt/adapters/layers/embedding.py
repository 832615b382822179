"""Adapted embeddings. A method sees the table as ``(dimensions, entries)``: its outputs first."""

import torch.nn.functional as F
from torch import Tensor, nn

from .weight import WeightLayer


class AdaptedEmbedding(WeightLayer, nn.Embedding):
    """An adapted Embedding. There is no dropout: its inputs are indices."""

    stock_class = nn.Embedding

    def canonical(self, weight: Tensor) -> Tensor:
        """Turn ``(entries, dimensions)`` round."""
        return weight.t()

    def stock_layout(self, weight: Tensor) -> Tensor:
        """Turn ``(dimensions, entries)`` round."""
        return weight.t()

    def run(self, x: Tensor, *, weight: Tensor, bias: None) -> Tensor:
        """Look up ``(...)`` indices in a table: ``(..., dimensions)``."""
        return F.embedding(x, weight, self.padding_idx, None, 2.0, self.scale_grad_by_freq,
                           self.sparse)

    def branch(self, x: Tensor, *, down: Tensor, up: Tensor) -> Tensor:
        """Look up the indices in the table of ``r`` numbers an entry."""
        return F.linear(self.run(x, weight=down.t(), bias=None), up)

    def compute(self, x: Tensor) -> Tensor:
        """Look up ``(...)`` indices: ``(..., dimensions)``."""
        tensors = self.adapter_tensors()
        # A row's norm needs the whole table; without it, only the rows that are looked up count.
        if self.adapter.low_rank(tensors) is None or self.adapter.gain(
                self.canonical(self.weight), tensors) is not None:
            return self.run(x, weight=self.merged_tensors()['weight'], bias=None)
        return self._compute_factored(x)


CLASSES = (AdaptedEmbedding, )
