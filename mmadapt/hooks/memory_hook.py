"""The ``memory`` key under a runner."""

from dataclasses import replace

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from ..config_files import inherited
from ..errors import UserError
from ..logs import say
from ..memory import AUTO, MemoryConfig, apply_memory
from ..memory.blocks import find_blocks
from ..memory.inherited import asks_for_recomputation, modules_named, unwrap_fairscale
from ..memory.islands import keep_float32
from ..memory.matching import find_modules
from ..optim.zero_redundancy import refuse_under_stock_runner
from ..runs import compiles, trains, unwrap
from .random_state_hook import add_random_state_hook
from .run_check_hook import add_run_check_hook
from .safe_checkpoints import secure_checkpoints

_KEY = 'activation_checkpointing'


@HOOKS.register_module()
class MemoryHook(Hook):
    """Train the runner's model in less memory, as the config's top-level ``memory`` key says.

    Under the stock ``Runner``, the stock tools and every strategy. Also takes over what the config
    asks for by ``activation_checkpointing`` and the model by ``with_cp`` and ``num_cp``. A runner
    that only validates or tests, maybe in float16, needs no more of it than ``fp32_modules``.
    PEFTInjectHook brings one along where the config has none.
    """

    # Behind PEFTInjectHook, and before EMAHook copies the model.
    priority = 'HIGH'

    def __init__(self) -> None:
        self._config: MemoryConfig | None = None
        self._names: list[str] = []
        self._trains = False
        self._is_applied = False

    def before_run(self, runner) -> None:
        """Check the names, and take the key that MMEngine would apply in its own way."""
        if self._trains:
            return
        add_run_check_hook(runner, self)
        model, cfg = unwrap(runner.model), runner.cfg
        training = trains(runner)
        self._config = check_names(model, cfg, training)
        self._trains = training
        if not self._trains:
            return
        self._is_applied = False  # of what has been evaluated, only the islands
        if isinstance(runner, Runner):
            refuse_under_stock_runner(runner.optim_wrapper)
        if not is_needed(runner, model):
            raise UserError(
                'custom_hooks holds MemoryHook but the config has no `memory`; inherit '
                f'{inherited("memory/checkpoint_resnet.py")} or the like, or write '
                'memory=dict(checkpoint=[...])'
            )
        secure_checkpoints(runner)
        add_random_state_hook(runner)
        self._names = _names(cfg)
        cfg.pop(_KEY, None)
        unwrap_fairscale(model)  # a copy would run the weights of the original

    def before_wrap(self, runner) -> None:
        """Apply it before a strategy wraps or shards the model; it has its weights by now."""
        self._apply(runner)

    def before_train(self, runner) -> None:
        """Apply it under the stock ``Runner``; the model has its weights and adapters by now."""
        self._apply(runner)

    def before_val(self, runner) -> None:
        """Apply what evaluating needs of it; the model has its weights and adapters by now."""
        self._apply(runner)

    def before_test(self, runner) -> None:
        """Apply what evaluating needs of it; the model has its weights and adapters by now."""
        self._apply(runner)

    def _apply(self, runner) -> None:
        if self._config is None or self._is_applied:
            return
        self._is_applied = True
        if not self._trains:
            keep_float32(unwrap(runner.model), self._config.fp32_modules)
            return
        if self._names:
            runner.cfg[_KEY] = self._names
        config = self._config
        if config.rematerialize is not False and compiles(runner):
            say(
                'memory: rematerialize steps aside: the model is compiled, and torch.compile '
                'chooses itself what it keeps'
            )
            config = replace(config, rematerialize=False)
        for line in apply_memory(unwrap(runner.model), config, self._names):
            say(line)


def check_names(model: nn.Module, cfg, trains: bool) -> MemoryConfig:
    """Check that a model has what the config names of it.

    Args:
        model (nn.Module): The model, not wrapped.
        cfg (Config): The config.
        trains (bool): Whether anything is to be recomputed.

    Returns:
        MemoryConfig: The value of ``memory``.

    Raises:
        UserError: It has not.
    """
    config = MemoryConfig.parse(cfg.get('memory'))
    if config.fp32_modules != AUTO:
        find_modules(model, config.fp32_modules, 'memory.fp32_modules')
    if trains:
        find_blocks(model, config.checkpoint, config.every)
        modules_named(model, _names(cfg))
    return config


def _names(cfg) -> list[str]:
    names = cfg.get(_KEY) or []
    return [names] if isinstance(names, str) else list(names)


def lacks_memory_hook(runner, model: nn.Module) -> bool:
    """Return whether a runner needs a MemoryHook and its config has none.

    Args:
        runner (Runner): A runner before its hooks' ``before_run``, or in that of one of them.
        model (nn.Module): Its model, not wrapped.
    """
    return is_needed(runner, model) and not any(isinstance(h, MemoryHook) for h in runner.hooks)


def is_needed(runner, model: nn.Module) -> bool:
    """Return whether a config or its model asks for what a MemoryHook does."""
    asked = [runner.cfg.get(key) is not None for key in ('memory', _KEY)]
    return any(asked) or asks_for_recomputation(model)
