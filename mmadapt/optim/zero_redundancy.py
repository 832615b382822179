"""torch's ZeroRedundancyOptimizer, whose state all processes have to gather together.

MMEngine asks the first process alone for the state of an optimizer, at a checkpoint, where this one
then waits for the others for ever.
"""

from mmengine.optim import BaseOptimWrapper

from ..errors import UserError


def is_zero_redundancy(optim_wrapper: BaseOptimWrapper) -> bool:
    """Return whether an optimizer is a ZeroRedundancyOptimizer, torch's or MMEngine's."""
    optimizer = getattr(optim_wrapper, 'optimizer', None)  # a dict of wrappers has none
    return any(cls.__name__ == 'ZeroRedundancyOptimizer' for cls in type(optimizer).__mro__)


def refuse_under_stock_runner(optim_wrapper: BaseOptimWrapper) -> None:
    """Refuse one before a run hangs at its first checkpoint.

    Args:
        optim_wrapper (BaseOptimWrapper): What the stock ``Runner`` trains with.

    Raises:
        UserError: It has a ZeroRedundancyOptimizer.
    """
    if is_zero_redundancy(optim_wrapper):
        raise UserError(
            "optim_wrapper.optimizer.type='ZeroRedundancyOptimizer' waits for ever at "
            "the first checkpoint under runner_type='Runner'; write "
            "runner_type='FlexibleRunner', or name the optimizer in it"
        )
