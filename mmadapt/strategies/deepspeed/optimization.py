"""What a config says of its optimizer, divided between MMEngine and DeepSpeed."""

from collections.abc import Mapping

from mmengine.registry import OPTIMIZERS

from ...errors import UserError
from ...type_names import type_name

_PLAIN = ('OptimWrapper', 'DeepSpeedOptimWrapper')
_AUTOCAST = ('AmpOptimWrapper', 'AutocastOptimWrapper')
# By the name of a class, or of the package that it is from: ZeRO runs the optimizer on flat pieces
# of many parameters.
_NOT_BY_ELEMENT = dict.fromkeys(
    (
        'Adafactor',
        'LARS',
        'LAMB',
        'Lamb',
        'FusedLamb',
        'LBFGS',
        'Muon',
        'SparseAdam',
        'Sophia',
        'bitsandbytes',
        'dadaptation',
        'prodigyopt',
    ),
    'needs each parameter, whole, in its shape',
)
_REFUSED = dict(
    _NOT_BY_ELEMENT,
    Adagrad='is built anew by DeepSpeed, without the groups of its parameters',
    ZeroRedundancyOptimizer='shards the state too: name the optimizer in it as '
    'optim_wrapper.optimizer.type',
)


def read_optim_wrapper(cfg, settings: dict) -> tuple[dict, list[str]]:
    """Take DeepSpeed's part out of ``optim_wrapper``.

    Args:
        cfg (dict): The config's ``optim_wrapper``; not changed.
        settings (dict): DeepSpeed's configuration; gets clipping, accumulation and autocast.

    Returns:
        tuple[dict, list[str]]: What MMEngine is to build, and what the log is to say of it.

    Raises:
        UserError: DeepSpeed cannot do what it asks for.
    """
    if not isinstance(cfg, Mapping) or not isinstance(cfg.get('optimizer'), Mapping):
        raise UserError(
            'DeepSpeedStrategy trains with one optimizer, named in optim_wrapper='
            "dict(optimizer=dict(type='AdamW', lr=...))"
        )
    from .engine import DeepSpeedOptimWrapper

    cfg, said = dict(cfg), []
    kind = type_name(cfg.get('type', 'OptimWrapper'))
    _refuse_optimizer(cfg['optimizer']['type'])
    if kind in _AUTOCAST:
        if not settings['torch_autocast']['enabled']:
            raise UserError(
                f'optim_wrapper.type={kind!r} and strategy.torch_autocast=dict(enabled='
                "False) contradict each other; write type='OptimWrapper', or leave the "
                'second one out'
            )
        said.append(
            f"optim_wrapper.type={kind!r}: DeepSpeed's torch_autocast takes its place, in "
            'bfloat16, which needs no loss scale'
        )
        cfg = {k: v for k, v in cfg.items() if k not in ('dtype', 'loss_scale', 'use_fsdp')}
    elif kind not in _PLAIN:
        raise UserError(
            f'optim_wrapper.type={kind!r}: under DeepSpeedStrategy gradients and steps '
            "are DeepSpeed's; write type='OptimWrapper'"
        )
    cfg['type'] = DeepSpeedOptimWrapper
    _agree_on_accumulation(cfg, settings)
    _agree_on_clipping(cfg, settings)
    return cfg, said


def _refuse_optimizer(kind: str | type) -> None:
    cls = OPTIMIZERS.get(kind) if isinstance(kind, str) else kind
    names = [type_name(kind)]  # of what is not registered, the registry says so itself
    for base in cls.__mro__ if isinstance(cls, type) else ():
        names += [base.__name__, base.__module__.partition('.')[0]]
    for name in names:
        if name in _REFUSED:
            raise UserError(
                f'optim_wrapper.optimizer.type={type_name(kind)!r} does not work '
                f'under DeepSpeedStrategy: it {_REFUSED[name]}'
            )


def _agree_on_accumulation(cfg: dict, settings: dict) -> None:
    steps = settings.get('gradient_accumulation_steps')
    if steps is None:
        steps = cfg.get('accumulative_counts', 1)
    if cfg.setdefault('accumulative_counts', steps) != steps:
        raise UserError(
            f'optim_wrapper.accumulative_counts={cfg["accumulative_counts"]} and '
            f'strategy.gradient_accumulation_steps={steps} contradict each other; '
            'leave the second one out'
        )
    settings['gradient_accumulation_steps'] = steps


def _agree_on_clipping(cfg: dict, settings: dict) -> None:
    asked = settings.get('gradient_clipping')
    clip = dict(cfg.get('clip_grad') or {})
    if clip:
        norm = clip.get('max_norm')
        if clip.get('type', 'norm') != 'norm' or norm is None or clip.get('norm_type', 2) != 2:
            raise UserError(
                f'optim_wrapper.clip_grad={clip}: DeepSpeed clips by the 2-norm of all '
                'gradients only; write clip_grad=dict(max_norm=...)'
            )
        if asked not in (None, norm):
            raise UserError(
                f'optim_wrapper.clip_grad.max_norm={norm} and '
                f'strategy.gradient_clipping={asked} contradict each other; leave the '
                'second one out'
            )
        asked = norm
    if asked and settings.get('zero_optimization', {}).get('compute_grad_norm') is False:
        raise UserError(
            f'strategy.zero_optimization.compute_grad_norm=False: clipping to {asked} '
            'needs the norm; leave it out, or optim_wrapper.clip_grad'
        )
    settings['gradient_clipping'] = float(asked or 0)
    cfg['clip_grad'] = dict(max_norm=asked) if asked else None
