"""Quantizing the model of a runner, which loads its weights after it has built everything."""

from torch import nn

from ..peft import quantize_base
from ..peft.quantized_base import pack_base
from ..peft.targets import module_names
from ..runs import averaging_hooks, unwrap


def quantize_loaded(runner, model: nn.Module) -> None:
    """Quantize what ``peft.quant`` asks for, if that has not been done.

    A copy that keeps a moving average has the same quantized weights, not some of its own: they do
    not move, and codes have no average.

    Args:
        runner (Runner): A runner that has loaded its weights.
        model (nn.Module): Its adapted model, not wrapped.
    """
    packed = quantize_base(model)
    for hook in averaging_hooks(runner.hooks) if packed else ():
        average = hook.ema_model
        copy, names = unwrap(average.module), module_names(average.module)
        pack_base(copy, packed)
        for layer in packed:
            for name in names[copy.get_submodule(layer)]:
                average.avg_parameters.pop(f'{name}.weight', None)
