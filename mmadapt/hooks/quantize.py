"""Quantizing the model of a runner, which loads its weights after it has built everything."""

from mmengine.hooks import EMAHook
from torch import nn

from ..tuning import quantize_base
from ..tuning.quantized_base import pack_base
from ..tuning.targets import module_names


def quantize_loaded(runner, model: nn.Module) -> None:
    """Quantize what ``peft.quant`` asks for, if that has not been done.

    A copy that keeps a moving average has the same quantized weights, not some of its own: they do
    not move, and codes have no average.

    Args:
        runner (Runner): A runner that has loaded its weights.
        model (nn.Module): Its adapted model, not wrapped.
    """
    packed = quantize_base(model)
    for hook in runner.hooks if packed else ():
        if isinstance(hook, EMAHook):
            average = hook.ema_model
            pack_base(average.module, packed)
            names = module_names(average.module)
            for layer in packed:
                for name in names[average.module.get_submodule(layer)]:
                    average.avg_parameters.pop(f'{name}.weight', None)
