"""An optimizer over exactly the parameters that are trained."""

from collections.abc import Callable
from logging import Logger

from mmengine.optim import BaseOptimWrapper

from ..runs import optim_wrappers
from .zero_redundancy import is_zero_redundancy


def build_for_trained(build: Callable[[], BaseOptimWrapper], logger: Logger) -> BaseOptimWrapper:
    """Build an optimizer wrapper and drop what is frozen from it.

    Args:
        build (Callable): Builds it from its config.
        logger (Logger): Where MMEngine's constructor says that a parameter is frozen; hundreds of
            such lines are kept from it.

    Returns:
        BaseOptimWrapper: Without frozen parameters, groups of none and state for them. A
        ZeroRedundancyOptimizer keeps them, which its state counts: of a model with frozen
        parameters a run cannot go on with that of another optimizer, nor the other way round.
    """
    logger.addFilter(_is_not_of_frozen_parameter)
    try:
        optim_wrapper = build()
    finally:
        logger.removeFilter(_is_not_of_frozen_parameter)
    for wrapper in optim_wrappers(optim_wrapper):
        if not is_zero_redundancy(wrapper):  # which has dealt them out when it was built
            _drop_frozen(wrapper.optimizer)
    return optim_wrapper


def _is_not_of_frozen_parameter(log_record) -> bool:
    return 'skipped since its requires_grad=False' not in log_record.getMessage()


def _drop_frozen(optimizer) -> None:
    for group in optimizer.param_groups:
        group['params'] = [p for p in group['params'] if p.requires_grad]
    optimizer.param_groups[:] = [g for g in optimizer.param_groups if g['params']]
    # Some, such as Adagrad, make their state when they are built.
    for parameter in [p for p in optimizer.state if not p.requires_grad]:
        del optimizer.state[parameter]
