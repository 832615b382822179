"""Adapted ``MultiheadAttention``: its projections are read by it, never called.

So an adapted ``out_proj`` alone would do nothing; the attention is adapted as a whole, with tensors
for each chosen projection.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..as_one import as_one
from ..layer import AdapterLayer, StockView

_INPUTS = ('q', 'k', 'v')
# It is given a view of its module.
_stock_forward: Callable[..., tuple[Tensor, Tensor | None]] = nn.MultiheadAttention.forward


class AdaptedMultiheadAttention(AdapterLayer, nn.MultiheadAttention):
    """An adapted MultiheadAttention, with packed or separate projections of its inputs."""

    stock_class = nn.MultiheadAttention
    method_options = frozenset({'attention', 'dropout'})

    def weight_parts(self) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Return the chosen projections, ``q``, ``k``, ``v`` and ``out``."""
        parts = {
            part: pair
            for part, pair in self._projections().items()
            if part in self.adapter.attention
        }
        if 'k' in parts and self.bias_k is None and not self.add_zero_attn:
            # What is added to all keys alike, no softmax sees: there is nothing to train.
            parts['k'] = (parts['k'][0], None)
        return parts

    def merged_tensors(self) -> dict[str, Tensor]:
        """Return the stock parameters of the attention that computes the same."""
        return self._packed(self.adapter_tensors)

    def _packed(self, tensors: Callable[[str], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        weights, biases = self._effective(tensors)
        merged = {}
        if self._qkv_same_embed_dim:
            merged['in_proj_weight'] = torch.cat([weights[part] for part in _INPUTS])
        else:
            merged.update({f'{part}_proj_weight': weights[part] for part in _INPUTS})
        if self.in_proj_bias is not None:
            merged['in_proj_bias'] = torch.cat([biases[part] for part in _INPUTS])
        merged['out_proj.weight'] = weights['out']
        if biases['out'] is not None:
            merged['out_proj.bias'] = biases['out']
        return merged

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, *args, **kwargs
    ) -> tuple[Tensor, Tensor | None]:
        """Compute what the stock attention computes, with the adapted projections."""
        if self.drops_elements:
            return self._forward_with_dropout(query, key, value, *args, **kwargs)
        view = self._view(self._packed(self.step_tensors))
        return _stock_forward(view, query, key, value, *args, **kwargs)

    def _projections(self) -> dict[str, tuple[Tensor, Tensor | None]]:
        if self._qkv_same_embed_dim:
            weights = list(self.in_proj_weight.chunk(3))
        else:
            weights = [getattr(self, f'{part}_proj_weight') for part in _INPUTS]
        biases = [None] * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        pairs = dict(zip(_INPUTS, zip(weights, biases, strict=True), strict=True))
        return {**pairs, 'out': (self.out_proj.weight, self.out_proj.bias)}

    def _effective(self, tensors: Callable[[str], Mapping[str, Tensor]]) -> tuple[dict, dict]:
        pairs = {
            part: as_one(self.adapter.adapt, *pair, tensors(part))
            if part in self.adapter.attention
            else pair
            for part, pair in self._projections().items()
        }
        return (
            {part: weight for part, (weight, _) in pairs.items()},
            {part: bias for part, (_, bias) in pairs.items()},
        )

    def _view(self, tensors: dict, **attributes) -> StockView:
        output = StockView(
            self.out_proj,
            dict(weight=tensors['out_proj.weight'], bias=tensors.get('out_proj.bias')),
        )
        return StockView(self, dict(tensors, out_proj=output, **attributes))

    def _forward_with_dropout(
        self, query: Tensor, key: Tensor, value: Tensor, *args, **kwargs
    ) -> tuple[Tensor, Tensor | None]:
        """Project before and after the stock attention, whose own projections are identities."""
        identity = torch.eye(self.embed_dim, dtype=query.dtype, device=query.device)
        inputs = [
            self._project(part, x) for part, x in zip(_INPUTS, (query, key, value), strict=True)
        ]
        view = self._view(
            dict(
                in_proj_weight=None,
                in_proj_bias=None,
                q_proj_weight=identity,
                k_proj_weight=identity,
                v_proj_weight=identity,
                **{'out_proj.weight': identity},
            ),
            _qkv_same_embed_dim=False,
            kdim=self.embed_dim,
            vdim=self.embed_dim,
        )
        output, weights = _stock_forward(view, *inputs, *args, **kwargs)
        return self._project('out', output), weights

    def _project(self, part: str, x: Tensor) -> Tensor:
        weight, bias = self._projections()[part]
        if part not in self.adapter.attention:
            return F.linear(x, weight, bias)
        adapted, bias = self.adapted(part, weight, bias)
        dropped = F.dropout(x, self.adapter.dropout)
        return F.linear(x, weight, bias) + F.linear(dropped, adapted - weight)


CLASSES = (AdaptedMultiheadAttention,)
