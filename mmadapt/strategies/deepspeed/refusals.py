"""Which runs DeepSpeedStrategy cannot do, for the strategy itself and for who plans with it."""

from collections.abc import Iterable, Mapping

from mmengine.hooks import EMAHook

from ..used_hooks import UsedHook

_REMEDY = 'write strategy.zero_optimization=dict(stage=2)'


def why_not(cfg: Mapping, hooks: Iterable[UsedHook], stage: int, compiles: bool) -> str:
    """Return why the strategy refuses a training; nothing if it does not.

    Args:
        cfg (Config): The config of the training.
        hooks (Iterable[UsedHook]): Its hooks.
        stage (int): What is sharded: 1, 2 or 3.
        compiles (bool): Whether the model is to be compiled.
    """
    if compiles:
        return (
            'compile: a model is not compiled under DeepSpeedStrategy; remove it, or train '
            'with mmadapt.DDPStrategy'
        )
    if stage < 3:
        return ''
    for hook in hooks:
        if hook.is_a(EMAHook) or hook.name in ('MeanTeacherHook', 'SyncNormHook'):
            return (
                f'{hook.name} reads whole weights, which ZeRO-3 divides; {_REMEDY}, or remove '
                'the hook'
            )
    if (cfg.get('peft') or {}).get('quant'):
        return f'peft.quant: ZeRO-3 cannot divide quantized weights; {_REMEDY}'
    return ''
