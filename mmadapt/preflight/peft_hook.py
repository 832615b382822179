"""A `peft` key without the hook that reads it would be without effect."""

from ..errors import UserError
from ..type_names import type_name


def check_peft_hook(cfg: dict) -> None:
    """Check that a config with a ``peft`` key has PEFTInjectHook.

    Args:
        cfg (dict or Config): A whole config.

    Raises:
        UserError: ``peft`` is set and nothing would read it.
    """
    if cfg.get('peft') is not None and 'PEFTInjectHook' not in hook_names(cfg):
        raise UserError(
            'the config has `peft` but no hook that reads it: custom_hooks = [*_base_.'
            "get('custom_hooks', []), dict(type='PEFTInjectHook')]"
        )


def hook_names(cfg: dict) -> list[str]:
    """Return the class names of a config's ``default_hooks`` and ``custom_hooks``."""
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    kinds = [
        hook.get('type') if isinstance(hook, dict) else type(hook)
        for hook in hooks
        if hook is not None
    ]
    return [type_name(kind) for kind in kinds]
