"""Which runs DeepSpeedStrategy cannot do, for the strategy itself and for who plans with it."""

import copy
from collections.abc import Mapping

from mmengine.hooks import EMAHook

from ...errors import UserError
from ..asked_run import AskedRun
from ..refusals import refuse_compile, refuse_wrapper
from .accumulation import check_intervals
from .optimization import read_optim_wrapper
from .settings import require_bfloat16

NAME = 'DeepSpeedStrategy'
_REMEDY = 'write strategy.zero_optimization=dict(stage=2)'


def check_run(run: AskedRun, settings: Mapping) -> None:
    """Check that a run is one that the strategy can do; it evaluates without DeepSpeed.

    Args:
        run (AskedRun): The run.
        settings (Mapping): DeepSpeed's configuration.

    Raises:
        UserError: It is not.
    """
    if not run.trains:
        return
    refuse_compile(run.cfg, NAME)
    refuse_wrapper(run.cfg, NAME)
    stage = settings['zero_optimization']['stage']
    if stage == 3:
        _check_sharded(run)
    wrapper, _ = read_optim_wrapper(run.cfg['optim_wrapper'], copy.deepcopy(dict(settings)))
    if settings['torch_autocast']['enabled']:
        require_bfloat16(f'{NAME}: write')
    if stage > 1:
        check_intervals(run.hooks, run.lengths, wrapper['accumulative_counts'])


def _check_sharded(run: AskedRun) -> None:
    for hook in run.hooks:
        if hook.is_a(EMAHook) or hook.name in ('MeanTeacherHook', 'SyncNormHook'):
            raise UserError(
                f'{hook.name} reads whole weights, which ZeRO-3 shards; {_REMEDY}, or remove '
                'the hook'
            )
    if (run.cfg.get('peft') or {}).get('quant'):
        raise UserError(f'peft.quant: ZeRO-3 cannot shard quantized weights; {_REMEDY}')
