"""``peft``, ``memory`` and ``strategy`` in configs that tools of other packages run.

MMEngine ignores a top-level key that it does not know. A config that imports mmadapt and has a
``peft`` key, but not the hook that reads it, would train the whole model without a word. Only a
hook could notice, and there is none; ``import mmadapt`` comes while the config is still being read.
What every tool calls with the whole config, command line included, is ``Runner.from_cfg``, before
anything is built or printed. So the check is put there, and what a model reads from the Hugging
Face hub is taken from its cache where that is out of reach. It changes nothing else, and nothing at
all for a config without these keys. (``FlexibleRunner`` is a class of this package, and has
its own.)
"""

import functools

from mmengine.runner import Runner


def check_run_configs() -> None:
    """Have the stock ``Runner`` refuse what it would leave out of a config. Idempotent."""
    stock = Runner.from_cfg.__func__
    if hasattr(stock, '_checks_configs'):
        return

    @functools.wraps(stock)
    def from_cfg(cls, cfg):
        # They need what is still being imported.
        from ..hub_parts import building_from_the_cache
        from ..preflight import check_runner

        check_runner(cfg, 'Runner')
        with building_from_the_cache(cfg.get('model') or {}):
            return stock(cls, cfg)

    vars(from_cfg)['_checks_configs'] = True
    Runner.from_cfg = classmethod(from_cfg)
