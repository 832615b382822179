"""What the strategies that shard weights refuse alike."""

from collections.abc import Mapping

from ..errors import UserError

WRAPPER_KEYS = ('model_wrapper_cfg', 'find_unused_parameters')


def refuse_compile(cfg: Mapping, strategy: str) -> None:
    """Refuse to compile a model whose weights come and go while it computes.

    Args:
        cfg (Mapping): The config of a run.
        strategy (str): The name of its strategy.

    Raises:
        UserError: The model is to be compiled.
    """
    if cfg.get('compile'):
        raise UserError(
            f'compile: a model is not compiled under {strategy}; remove it, or train with '
            'mmadapt.DDPStrategy'
        )


def refuse_wrapper(cfg: Mapping, strategy: str) -> None:
    """Refuse what is told to a wrapper that there is none of.

    Args:
        cfg (Mapping): The config of a run.
        strategy (str): The name of its strategy.

    Raises:
        UserError: The config has one of :data:`WRAPPER_KEYS`.
    """
    for key in WRAPPER_KEYS:
        if cfg.get(key):
            raise UserError(
                f'{key}: {strategy} has no such wrapper, and needs every process to use the same '
                'weights in an iteration; remove it, or train with mmadapt.DDPStrategy'
            )
