"""MMEngine's FlexibleRunner, with a place for hooks between building a model and wrapping it.

MMEngine's wraps the model before any hook runs, and loads weights before ``before_run``, where
EMAHook makes the copy that they are loaded into too. Here the order is the stock ``Runner``'s: the
model is built, the hooks' ``before_run`` sees it, its weights are loaded, and only then is it
wrapped or sharded and the optimizer built. Whatever adapts a model or loads it then works on an
ordinary module, whatever the strategy.
"""

import weakref
from collections.abc import Callable

from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner as StockRunner
from torch import nn

from ..errors import UserError
from ..preflight import check_runner
from ..strategies import AdaptingStrategy, choose_strategy, with_runner_keys

_PREPARATIONS: list[Callable[[StockRunner, nn.Module], None]] = []


def prepares_runs(function: Callable[[StockRunner, nn.Module], None]) -> Callable:
    """Have a function called with every runner and its model before the hooks' ``before_run``.

    Args:
        function (callable): To be decorated. It may register hooks of its own.

    Returns:
        callable: The function itself.
    """
    _PREPARATIONS.append(function)
    return function


@RUNNERS.register_module(force=True)
class FlexibleRunner(StockRunner):
    """A runner whose strategy builds, wraps, saves and loads the model.

    Takes the place of MMEngine's under its name. With a strategy of MMEngine's and neither
    ``peft``, ``memory`` nor ``activation_checkpointing`` in the config it does what that one does,
    and compiles the model where the config says so.

    Args:
        args: What MMEngine's takes.
        kwargs: The same.
    """

    def __init__(self, *args, **kwargs) -> None:
        self._begun = False
        self._compile: bool | dict
        super().__init__(*args, **kwargs)
        # from_cfg does not pass it on.
        self._compile = self._compile or self.cfg.get('compile', False)

    @classmethod
    def from_cfg(cls, cfg) -> 'FlexibleRunner':
        """Build a runner from a config.

        Args:
            cfg (Config): A whole config.

        Returns:
            FlexibleRunner: The runner.

        Raises:
            UserError: Something in it would be without effect.
        """
        check_runner(cfg, 'FlexibleRunner')
        return super().from_cfg(cfg)

    def build_strategy(self, strategy=None, launcher: str = 'none', **kwargs):
        """Build the strategy that the config names, or ours of that kind where it is needed.

        Args:
            strategy (dict, optional): The config's ``strategy``.
            launcher (str): The config's ``launcher``. Defaults to ``'none'``.
            kwargs: What else MMEngine's takes.

        Returns:
            BaseStrategy: The strategy.

        Raises:
            UserError: It cannot do what the config asks for.
        """
        strategy = choose_strategy(strategy, launcher, self.cfg)
        strategy = with_runner_keys(strategy, self.cfg)
        strategy = super().build_strategy(strategy, launcher, **kwargs)
        if isinstance(strategy, AdaptingStrategy):
            strategy.runner = weakref.proxy(self)
        return strategy

    def begin(self, model: nn.Module) -> None:
        """Run what belongs between building the model and wrapping it; called by the strategy.

        Args:
            model (nn.Module): The model, built and initialized.
        """
        self.model = model
        for prepare in _PREPARATIONS:
            prepare(self, model)
        self.call_hook('before_run')
        self._begun = True
        self.load_or_resume()
        self.call_hook('before_wrap')

    def train(self) -> nn.Module:
        """Launch training.

        Returns:
            nn.Module: The model after training.

        Raises:
            UserError: The model has been prepared for evaluation, or the strategy cannot train it.
        """
        if self._begun and not hasattr(self.strategy, 'optim_wrapper'):
            raise UserError(
                'this runner has evaluated a model and cannot train it; build another '
                'one with RUNNERS.build(cfg)'
            )
        if isinstance(self.strategy, AdaptingStrategy):
            self.strategy.check_run(self.optim_wrapper, self._compile)  # before data are read
        return super().train()

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """Call all hooks, but ``before_run`` once a run only."""
        if fn_name == 'before_run' and self._begun:
            return
        super().call_hook(fn_name, **kwargs)

    def set_randomness(
        self, seed: int | None = None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Seed all random generators, as the stock ``Runner``'s method of this name."""
        self.strategy._set_randomness(seed, diff_rank_seed, deterministic)
