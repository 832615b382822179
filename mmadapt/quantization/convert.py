"""Turning layers into quantized ones and back, in place."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..adapters import AdapterLayer, attach_adapter, require_adapted_class
from ..digest import tensor_digest
from ..errors import UserError
from .linear import QuantizedLinear
from .options import QuantOptions


@dataclass
class Packed:
    """What makes a quantized layer of a dense one.

    Attributes:
        layer_class (type): The class of the quantized layer.
        parameters (dict[str, nn.Parameter]): The packed weight and its scales.
        attributes (dict): What else the layer has.
    """

    layer_class: type[QuantizedLinear]
    parameters: dict[str, nn.Parameter]
    attributes: dict[str, Any]

    @property
    def num_bytes(self) -> int:
        """int: The memory that the parameters take."""
        return sum(p.numel() * p.element_size() for p in self.parameters.values())


def require_bitsandbytes() -> None:
    """Import bitsandbytes.

    Raises:
        UserError: It is not installed.
    """
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise UserError(f'peft.quant needs bitsandbytes ({error}): mmadapt install quant') from None


def pack(layer: nn.Linear, options: QuantOptions) -> Packed:
    """Quantize the weight of a dense layer, which is not changed.

    Args:
        layer (nn.Linear): A dense Linear, adapted or not.
        options (QuantOptions): What is asked for.

    Returns:
        Packed: The quantized weight.
    """
    require_bitsandbytes()
    from .bnb import layer_class

    cls = layer_class(options.bits)
    weight = layer.weight.detach()
    return Packed(
        cls,
        {name: _frozen(tensor) for name, tensor in cls.pack(weight, options).items()},
        dict(
            options=options,
            dense_class=getattr(layer, 'stock_class', type(layer)),
            dense_dtype=weight.dtype,
            dense_digest=tensor_digest(weight),
        ),
    )


def quantize(layer: nn.Linear, packed: Packed) -> None:
    """Make a dense layer a quantized one; it stays adapted if it is."""
    adapter = layer.detach_adapter() if isinstance(layer, AdapterLayer) else None
    layer.__class__ = packed.layer_class
    for name, parameter in packed.parameters.items():
        layer.register_parameter(name, parameter)
    layer.__dict__.update(packed.attributes)
    _adapt_again(layer, adapter)


def dequantize(layer: QuantizedLinear) -> Packed:
    """Make a quantized layer a dense one; it stays adapted if it is.

    Its weight is what the bits say: close to what it was before, not the same.

    Args:
        layer (QuantizedLinear): The layer.

    Returns:
        Packed: What :func:`quantize` takes to undo it exactly.
    """
    adapter = layer.detach_adapter() if isinstance(layer, AdapterLayer) else None
    with torch.no_grad():
        weight = layer.dense_weight()
    names = ('options', 'dense_class', 'dense_dtype', 'dense_digest')
    packed = Packed(
        type(layer),
        {name: layer.get_parameter(name) for name in layer.packed_names},
        {name: layer.__dict__.pop(name) for name in names},
    )
    for name in list(packed.parameters)[1:]:
        delattr(layer, name)
    layer.__class__ = packed.attributes['dense_class']
    layer.register_parameter('weight', _frozen(weight))
    _adapt_again(layer, adapter)
    return packed


def dense_digests(model: nn.Module) -> dict[str, str | None]:
    """Return the digests of the weights that quantized layers had, by state-dict key.

    The keys of their scales, which a dense model has not, are there with None.
    """
    result: dict[str, str | None] = {}
    for prefix, layer in model.named_modules(remove_duplicate=False):
        if isinstance(layer, QuantizedLinear):
            result.update({f'{prefix}.{name}'.lstrip('.'): None for name in layer.packed_names})
            result[f'{prefix}.weight'.lstrip('.')] = layer.dense_digest
    return result


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)


def _adapt_again(layer: nn.Module, kept: dict | None) -> None:
    if kept is not None:
        attach_adapter(layer, require_adapted_class(layer), kept['adapter'], kept['tensors'])
