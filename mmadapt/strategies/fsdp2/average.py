"""The moving average of a sharded model."""

from mmengine.hooks import EMAHook

from ...runs import unwrap
from .shard import Sharding


def shard_average(hook: EMAHook, sharding: Sharding) -> None:
    """Shard the copy of the model that a hook averages as the model is sharded.

    The hook has made it of the whole model, before. Each process then averages its part.

    Args:
        hook (EMAHook): The hook.
        sharding (Sharding): How the model is sharded.
    """
    average = hook.ema_model
    sharding.apply(unwrap(average.module))
    tensors = (
        average.module.state_dict()
        if average.update_buffers
        else dict(average.module.named_parameters())
    )
    average.avg_parameters = {key: tensors[key] for key in average.avg_parameters}
