"""What every quantized Linear is, whatever library holds its weight.

A quantized layer is the dense layer with another class and other parameters: the packed weight and
its scales, all frozen, none a buffer (MMEngine averages buffers over processes). The module stays,
and with it its names, its aliases and its place in a wrapper.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..digest import tensor_digest
from .options import QuantOptions

_WEIGHT = 'weight'


class QuantizedLinear(nn.Linear):
    """A Linear whose frozen weight is kept in few bits.

    Attributes:
        scale_names (tuple[str]): The names of the parameters beside ``weight`` and ``bias``.
        options (QuantOptions): What it was asked for.
        dense_class (type): The class that the layer had.
        dense_dtype (torch.dtype): The type that its weight had.
        dense_digest (str): The digest of that weight.
    """

    scale_names: ClassVar[tuple[str, ...]]
    options: QuantOptions
    dense_class: type[nn.Linear]
    dense_dtype: torch.dtype
    dense_digest: str

    @staticmethod
    def pack(weight: Tensor, options: Any) -> dict[str, Tensor]:
        """Quantize a weight ``(out, in)``: return ``weight`` and the scales, by name."""
        raise NotImplementedError

    def unpack(self, dtype: torch.dtype) -> Tensor:
        """Return the weight ``(out, in)`` that the layer computes with."""
        raise NotImplementedError

    def dense_weight(self) -> Tensor:
        """Return the weight ``(out, in)`` that stands for the layer's where it becomes dense."""
        return self.unpack(self.dense_dtype)

    @property
    def packed_names(self) -> list[str]:
        """list[str]: The names of the parameters that :meth:`pack` has made."""
        return [name for name in (_WEIGHT, *self.scale_names) if name in self._parameters]

    def product(self, x: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)`` by the weight alone, without the bias."""
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        computed = getattr(self.options, 'compute_dtype', None)
        computed = dtype if computed is None else getattr(torch, computed)
        return self.multiply(x.to(computed)).to(dtype)

    def multiply(self, x: Tensor) -> Tensor:
        """Multiply with the weight in the type of ``x``, in which the result is too."""
        return _FrozenProduct.apply(x, self)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        output = self.product(x)
        return output if self.bias is None else output + self.bias.to(output.dtype)

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ):
        weight = state_dict.get(prefix + _WEIGHT)
        if weight is not None and not self._holds(state_dict, prefix):
            if weight.shape == (self.out_features, self.in_features) and weight.is_floating_point():
                weight = weight.to(self.weight.device, self.dense_dtype)
                self.dense_digest = tensor_digest(weight)
                state_dict = {
                    **state_dict,
                    **{prefix + name: t for name, t in self.pack(weight, self.options).items()},
                }
            else:
                error_msgs.append(
                    f'{prefix}{_WEIGHT} is not of this shape, or was quantized '
                    'elsewhere; load the dense checkpoint'
                )
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def _holds(self, state_dict, prefix: str) -> bool:
        return all(
            torch.equal(state_dict[prefix + name].to(self.weight.device), self.get_parameter(name))
            for name in self.packed_names
            if prefix + name in state_dict
        )

    def extra_repr(self) -> str:
        """Return the Linear's description and the number of bits."""
        return f'{super().extra_repr()}, bits={self.options.bits}'


class _FrozenProduct(torch.autograd.Function):
    """``x W^T``, of which nothing is kept for the backward pass but the packed weight."""

    @staticmethod
    def forward(ctx, x: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer = layer
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x, layer.unpack(x.dtype))

    @staticmethod
    def backward(ctx, gradient: Tensor):
        with torch.autocast(gradient.device.type, enabled=False):
            return gradient @ ctx.layer.unpack(gradient.dtype), None
