"""How a model is wrapped or sharded, saved and loaded under ``runner_type='FlexibleRunner'``."""

from .choice import choose_strategy
from .ddp import DDPStrategy
from .deepspeed import DeepSpeedStrategy
from .fsdp2 import FSDP2Strategy
from .lifecycle import AdaptingStrategy
from .registry import STRATEGIES
from .runner_keys import with_runner_keys
from .single_device import SingleDeviceStrategy

__all__ = [
    'STRATEGIES',
    'AdaptingStrategy',
    'DDPStrategy',
    'DeepSpeedStrategy',
    'FSDP2Strategy',
    'SingleDeviceStrategy',
    'choose_strategy',
    'with_runner_keys',
]
