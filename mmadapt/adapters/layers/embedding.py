"""Adapted embeddings. A method sees the table as ``(dimensions, entries)``: its outputs first."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .weight import WeightLayer


class AdaptedEmbedding(WeightLayer, nn.Embedding):
    """An adapted Embedding.

    There is no dropout: its inputs are indices. The entry at ``padding_idx`` stays what it is, as
    it does in training the stock layer.
    """

    stock_class = nn.Embedding
    method_options = frozenset({'compute'})

    def step_tensors(self, part: str = '') -> Mapping[str, Tensor]:
        """Return the adapter's tensors, none of whose columns, the entries, are dropped."""
        return self.adapter_tensors(part)

    def canonical(self, weight: Tensor) -> Tensor:
        """Turn ``(entries, dimensions)`` round."""
        return weight.t()

    def stock_layout(self, weight: Tensor) -> Tensor:
        """Turn ``(dimensions, entries)`` round."""
        return weight.t()

    def merged_tensors(self) -> dict[str, Tensor]:
        """Return the table of the stock embedding that computes the same."""
        merged = super().merged_tensors()
        if self.padding_idx is not None:
            entry = torch.tensor([self.padding_idx], device=self.weight.device)
            merged['weight'] = merged['weight'].index_copy(0, entry, self.weight[entry])
        return merged

    def run(self, x: Tensor, *, weight: Tensor, bias: None) -> Tensor:
        """Look up ``(...)`` indices in a table: ``(..., dimensions)``."""
        # Never sparse: B's gradient is dense whatever A's is, and no optimizer takes both.
        return F.embedding(x, weight, self.padding_idx, None, 2.0, self.scale_grad_by_freq)

    def branch(self, x: Tensor, *, down: Tensor, up: Tensor) -> Tensor:
        """Look up the indices in the table of ``r`` numbers an entry."""
        return F.linear(self.run(x, weight=down.t(), bias=None), up)

    def is_factored(self, x: Tensor) -> bool:
        """Return whether it can be: it is always better, as only the entries looked up count.

        Gradients divided by an entry's frequency are those of the whole table.
        """
        method, tensors = self.adapter, self.adapter_tensors()
        if self.scale_grad_by_freq or getattr(method, 'compute', 'auto') == 'merged':
            return False
        return (
            method.low_rank(tensors) is not None
            or method.gain(self.canonical(self.weight), tensors) is not None
        )

    def compute(self, x: Tensor) -> Tensor:
        """Look up ``(...)`` indices: ``(..., dimensions)``."""
        if self.is_factored(x):
            output = self._compute_factored(x)
        else:
            pair = self.adapted('', *self.weight_parts()[''])
            output = self._run(x, pair=pair, affine=None)
        if self.padding_idx is None:
            return output
        is_padding = (x == self.padding_idx).unsqueeze(-1)
        return torch.where(is_padding, self.weight[self.padding_idx], output)


CLASSES = (AdaptedEmbedding,)
