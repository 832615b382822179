"""A `peft` key without the hook that reads it would be without effect."""

from ..errors import UserError


def check_peft_hook(cfg: dict) -> None:
    """Check that a config with a ``peft`` key has PEFTInjectHook.

    Args:
        cfg (dict or Config): A whole config.

    Raises:
        UserError: ``peft`` is set and nothing would read it.
    """
    hooks = [hook.get('type') for hook in cfg.get('custom_hooks') or [] if isinstance(hook, dict)]
    if cfg.get('peft') is not None and 'PEFTInjectHook' not in [
            getattr(kind, '__name__', str(kind)).split('.')[-1] for kind in hooks]:
        raise UserError("the config has `peft` but no hook that reads it: custom_hooks = [*_base_."
                        "get('custom_hooks', []), dict(type='PEFTInjectHook')]")
