"""What a runner has built from its model before any hook ran, built anew for the adapted model."""

import copy

from torch import nn

from ..errors import UserError
from ..optim.trained_only import build_for_trained
from ..optim.zero_redundancy import refuse_under_stock_runner


def rewire(runner, model: nn.Module) -> None:
    """Wrap the adapted model and build optimizer and schedulers anew from the config.

    Args:
        runner (Runner): A runner in training, before its weights are loaded.
        model (nn.Module): Its model, adapted, not wrapped.

    Raises:
        UserError: The runner was given a built optimizer instead of a config, or one that hangs
            under it.
    """
    cfg = runner.cfg
    refuse_under_stock_runner(runner.optim_wrapper)
    if runner.distributed:
        # The first wrapping has done what sync_bn asks for; a second time would undo frozen norms.
        sync_bn = cfg.pop('sync_bn', None)
        runner.model = runner.wrap_model(copy.deepcopy(cfg.get('model_wrapper_cfg')), model)
        if sync_bn is not None:
            cfg.sync_bn = sync_bn
    if cfg.get('optim_wrapper') is None:
        raise UserError(
            'PEFTInjectHook builds the optimizer anew and needs its config: '
            'Runner.from_cfg(cfg), not a built optim_wrapper'
        )
    runner.optim_wrapper = build_for_trained(
        lambda: runner.build_optim_wrapper(copy.deepcopy(cfg.optim_wrapper)), runner.logger
    )
    if runner.param_schedulers is not None:
        # scale_lr refuses to run once there are schedulers.
        runner.param_schedulers = copy.deepcopy(cfg.param_scheduler)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
