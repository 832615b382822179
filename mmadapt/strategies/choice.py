"""Which strategy a config gets."""

from collections.abc import Mapping

from mmengine._strategy import BaseStrategy
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES

from ..errors import UserError

# What each of MMEngine's is here.
_OURS = dict(
    SingleDeviceStrategy='SingleDeviceStrategy',
    DDPStrategy='DDPStrategy',
    FSDPStrategy='FSDP2Strategy',
    DeepSpeedStrategy='DeepSpeedStrategy',
)
_TAKEN_OVER = ('SingleDeviceStrategy', 'DDPStrategy')
# MMEngine's strategies would drop the last one.
KEYS = ('peft', 'memory', 'activation_checkpointing')
# From the requirements of colossalai 0.5.0, which has not been followed by another.
_WHY_NOT = dict(
    ColossalAIStrategy=' (there is none for ColossalAI: its last release, 0.5.0, '
    'requires torch<=2.5.1, mmadapt 2.6 or newer)'
)


def choose_strategy(strategy, launcher: str, cfg: Mapping):
    """Choose a strategy that adapts models, where a config needs one.

    Args:
        strategy (dict or BaseStrategy, optional): What the config says.
        launcher (str): ``'none'`` for a single process.
        cfg (Mapping): The whole config.

    Returns:
        dict or BaseStrategy: What is to be built.

    Raises:
        UserError: A strategy of MMEngine's cannot do what one of :data:`KEYS` asks for.
    """
    keys = [key for key in KEYS if cfg.get(key) is not None]
    if strategy is None:
        strategy = dict(type='SingleDeviceStrategy' if launcher == 'none' else 'DDPStrategy')
    if not keys:
        return strategy
    if isinstance(strategy, BaseStrategy):
        name, scope = type(strategy).__name__, type(strategy).__module__.split('.')[0]
        stock = scope == 'mmengine'
    else:
        kind = strategy.get('type')
        cls = MMENGINE_STRATEGIES.get(kind) if isinstance(kind, str) else kind
        if cls is None:
            return strategy  # the registry says what it has not got
        name, stock = cls.__name__, cls.__module__.split('.')[0] == 'mmengine'
    if not stock:
        return strategy
    if name in _TAKEN_OVER and isinstance(strategy, Mapping):
        return dict(strategy, type=f'mmadapt.{_OURS[name]}')
    ours = _OURS.get(name)
    remedy = (
        f"write strategy=dict(type='mmadapt.{ours}', ...)"
        if ours
        else "choose among 'mmadapt.DDPStrategy', 'mmadapt.FSDP2Strategy' and "
        "'mmadapt.DeepSpeedStrategy'"
    ) + _WHY_NOT.get(name, '')
    raise UserError(
        f"strategy: MMEngine's {name} wraps the model before anything can act on "
        f'{" or ".join(f"`{key}`" for key in keys)}; {remedy}'
    )
