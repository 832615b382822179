"""``peft``, ``memory`` and ``strategy`` in configs that tools of other packages run.

MMEngine ignores a top-level key that it does not know. A config that imports mmadapt and has a
``peft`` key, but not the hook that reads it, would train the whole model without a word. Only a
hook could notice, and there is none; ``import mmadapt`` comes while the config is still being read.
What every tool calls with the whole config, command line included, is ``Runner.from_cfg``, before
anything is built or printed. So the check is put there. It changes nothing else, and nothing at all
for a config without these keys. (``FlexibleRunner`` is a class of this package, and has its own.)
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
        from ..preflight import check_runner  # needs what is still being imported

        check_runner(cfg, 'Runner')
        return stock(cls, cfg)

    vars(from_cfg)['_checks_configs'] = True
    Runner.from_cfg = classmethod(from_cfg)
