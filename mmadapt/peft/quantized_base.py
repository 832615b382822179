"""Which layers of a model ``peft.quant`` quantizes, and when."""

from collections import Counter
from collections.abc import Iterable

from torch import nn

from ..adapters import is_linear
from ..errors import UserError
from ..logs import say, warn
from ..quantization import (
    EightBit,
    Packed,
    QuantizedLinear,
    QuantOptions,
    dequantize,
    pack,
    quantize,
    require_bitsandbytes,
)
from .state import require_state
from .targets import has_own_parameters, module_names, select


def layers_to_quantize(
    model: nn.Module, frozen: Iterable[nn.Module], options: QuantOptions
) -> list[str]:
    """Return the names of the layers that are quantized; nothing is changed.

    Args:
        model (nn.Module): The stock model.
        frozen (Iterable[nn.Module]): Its modules that do not train fully, nor share a weight with
            another.
        options (QuantOptions): What is asked for.

    Raises:
        UserError: There is none, ``skip`` names none of them, one is used in a way that needs its
            dense weight, or bitsandbytes is missing.
    """
    names = module_names(model)
    frozen = set(frozen)
    # GPT-2's layers are linear too, but keep their weights turned round.
    linear = [module for module in names if isinstance(module, nn.Linear) and is_linear(module)]
    chosen = [module for module in linear if module in frozen]
    for selector in options.skip:
        skipped = select(model, [selector], 'peft.quant.skip')
        if skipped.isdisjoint(linear):
            raise UserError(
                f'peft.quant.skip: {selector!r} means no Linear layer, and nothing '
                'else would be quantized'
            )
        chosen = [module for module in chosen if module not in skipped]
    if not chosen:
        kinds = Counter(type(module).__name__ for module in names if has_own_parameters(module))
        made_of = ', '.join(f'{count} {kind}' for kind, count in kinds.most_common())
        why = (
            f'each of its {len(linear)} Linear layers trains fully, shares its weight or is '
            'named in peft.quant.skip'
            if linear
            else 'it has none'
        )
        raise UserError(
            f'peft.quant quantizes Linear layers, and in this {type(model).__name__} '
            f'there is none to quantize: {why}. It is made of {made_of}. Remove '
            'peft.quant'
        )
    require_bitsandbytes()
    for module, (name, *_) in names.items():
        # In eval mode torch runs it as one fused operator that reads the weights.
        if isinstance(module, nn.TransformerEncoderLayer) and not set(chosen).isdisjoint(
            module.modules()
        ):
            raise UserError(
                f'{name}, a TransformerEncoderLayer, reads the weights of its layers '
                'instead of calling them; put it into peft.quant.skip'
            )
    return [names[module][0] for module in chosen]


def quantize_base(model: nn.Module) -> dict[str, Packed]:
    """Quantize what ``peft.quant`` asks for, once the weights are there.

    Args:
        model (nn.Module): An adapted model. One that is quantized already or merged, or whose
            config asks for nothing, is left as it is.

    Returns:
        dict[str, Packed]: The weights that were quantized now, by the name of their layer.
    """
    state = require_state(model)
    options = state.config.quant_options()
    if options is None or state.merged is not None:
        return {}
    layers = {
        name: layer
        for name in state.quantized
        if isinstance(layer := model.get_submodule(name), nn.Linear)
        and not isinstance(layer, QuantizedLinear)
    }
    packed = {name: pack(layer, options) for name, layer in layers.items()}
    dense = sum(layer.weight.numel() * layer.weight.element_size() for layer in layers.values())
    pack_base(model, packed)
    if (
        packed
        and next(iter(layers.values())).weight.device.type == 'cpu'
        and getattr(options, 'threshold', None) not in (None, EightBit.threshold)
    ):
        warn(
            'peft.quant.threshold counts where integers are multiplied, on a GPU; on this CPU it '
            'changes nothing'
        )
    if packed:
        say(
            f'peft.quant: {len(packed)} Linear layers in {options.bits} bits, '
            f'{dense / 2**20:.1f} MiB -> '
            f'{sum(p.num_bytes for p in packed.values()) / 2**20:.1f} MiB'
        )
    return packed


def pack_base(model: nn.Module, packed: dict[str, Packed]) -> None:
    """Quantize layers with weights that have been packed, by name."""
    for name, weight in packed.items():
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)  # no other is packed
        quantize(layer, weight)


def packed_base(model: nn.Module) -> dict[str, Packed]:
    """Make all quantized layers of a model dense.

    Args:
        model (nn.Module): The model.

    Returns:
        dict[str, Packed]: What :func:`pack_base` takes to undo it exactly.
    """
    return {
        name: dequantize(module)
        for name, module in list(model.named_modules())
        if isinstance(module, QuantizedLinear)
    }
