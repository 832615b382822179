"""Whether what is going to be frozen has pretrained weights at all, and those of this model."""

from torch import nn

from ..errors import UserError
from ..files import BaseRecord
from ..logs import say, warn
from ..tuning import PEFTConfig
from ..tuning.heads import find_heads


def check_base(runner, model: nn.Module, base: BaseRecord, config: PEFTConfig) -> bool:
    """Return whether there are base weights, and say how many of the model's there are.

    Args:
        runner (Runner): A runner in training.
        model (nn.Module): Its model, before it is adapted.
        base (BaseRecord): What its checkpoint provides.
        config (PEFTConfig): The value of ``peft``.

    Returns:
        bool: False if nothing was loaded and that is what the config asks for.

    Raises:
        UserError: There are none, something would be frozen, and that was not asked for; or they
            are those of another model.
    """
    keys = [key for key in model.state_dict() if not key.endswith('num_batches_tracked')]
    loaded = len(keys) - len(base.not_in_base)
    if base.load_from or base.pretrained:
        say(f'pretrained weights for {loaded} of {len(keys)} tensors of the model')
    if runner._resume and loaded:
        warn(f'--resume found no checkpoint in {runner.work_dir} and has cleared load_from: what '
             'is not pretrained trains from the start')
    if loaded:
        _check_body(model, keys, base, config)
    if loaded or (config.method is None and config.targets == 'all'):
        return loaded > 0
    if not config.allow_random_base:
        why = f'{base.load_from} has none of its weights' if base.load_from else (
            '--resume found no checkpoint and has cleared load_from: run without it'
            if runner._resume else 'set load_from')
        raise UserError(f'the frozen base of this {type(model).__name__} would be random: '
                        f'{why}. (peft.allow_random_base=True if that is meant)')
    if config.quant is not None:
        raise UserError('peft.quant needs a base that a file provides: from quantised weights no '
                        'checkpoint could restore a random one; set load_from')
    warn('the frozen base is random, as peft.allow_random_base says; no file provides it, so every '
         'checkpoint holds the whole model')
    return False


def _check_body(model: nn.Module, keys, base: BaseRecord, config: PEFTConfig) -> None:
    """Notice a checkpoint that is of another model."""
    heads, not_in_base = find_heads(model), set(base.not_in_base)
    body = [key for key in keys if not key.startswith(tuple(f'{name}.' for name in heads))]
    lacking = [key for key in body if key in not_in_base]
    if not lacking:
        return
    what = (f'{base.load_from or "the pretrained file"} has no fitting weight for '
            f'{len(lacking)} of {len(body)} tensors outside the head, first {lacking[0]}')
    if base.load_from and 2 * len(lacking) > len(body) and not config.allow_random_base:
        raise UserError(f'{what}: it is the checkpoint of another model. '
                        '(peft.allow_random_base=True if that is meant)')
    warn(f'{what}; their layers train fully')
