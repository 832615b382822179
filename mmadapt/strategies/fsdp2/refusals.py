"""Which runs FSDP2Strategy cannot do, for the strategy itself and for who plans with it."""

from collections.abc import Iterable, Mapping

from mmengine.hooks import CheckpointHook, EMAHook

from ...errors import UserError
from ..asked_run import AskedRun, UsedHook
from ..refusals import refuse_compile, refuse_wrapper

NAME = 'FSDP2Strategy'


def check_run(run: AskedRun, options: Mapping) -> None:
    """Check that a run is one that the strategy can do.

    Args:
        run (AskedRun): The run.
        options (Mapping): The strategy's arguments, of which ``meta_init`` and
            ``sharded_checkpoints`` are read.

    Raises:
        UserError: It is not.
    """
    refuse_compile(run.cfg, NAME)
    refuse_wrapper(run.cfg, NAME)
    if run.trains:
        if options['meta_init'] and (run.cfg.get('peft') or {}).get('quant'):
            raise UserError(
                'strategy.meta_init=True: peft.quant quantizes in every process, and the first '
                'one alone has the weights; write meta_init=False'
            )
        _check_optim_wrapper(run.cfg['optim_wrapper'])
    for hook in run.hooks:
        _check_hook(hook, options['sharded_checkpoints'])


def check_flat_decay(cfg: Mapping, scalars: Iterable[str]) -> None:
    """Check that the optimizer's constructor finds the dimensions that parameters have elsewhere.

    Args:
        cfg (Mapping): The config of a training.
        scalars (Iterable[str]): The names of those that are trained and have no dimensions: under
            this strategy they have one.

    Raises:
        UserError: It would take one of them for a vector.
    """
    paramwise = (cfg.get('optim_wrapper') or {}).get('paramwise_cfg') or {}
    first = next(iter(scalars), None)
    if first is not None and paramwise.get('flat_decay_mult') is not None:
        raise UserError(
            f'optim_wrapper.paramwise_cfg.flat_decay_mult would take {first} too, which has one '
            f'dimension under {NAME} and none elsewhere; write norm_decay_mult and '
            'bias_decay_mult, or train with mmadapt.DDPStrategy'
        )


def _check_optim_wrapper(wrapper) -> None:
    if not isinstance(wrapper, Mapping):
        raise UserError(
            f'optim_wrapper must be a dict, got {type(wrapper).__name__}: it would step parameters '
            f'that {NAME} has sharded since'
        )
    # One that is built by a constructor of its own may name several.
    for one in (wrapper, *(value for value in wrapper.values() if isinstance(value, Mapping))):
        clip = one.get('clip_grad')
        if isinstance(clip, Mapping) and str(clip.get('norm_type')) == 'inf':
            raise UserError(
                'optim_wrapper.clip_grad.norm_type=inf: the largest element of a part without '
                'elements is not defined; clip by another norm'
            )


def _check_hook(hook: UsedHook, sharded_checkpoints: bool) -> None:
    if sharded_checkpoints and hook.is_a(CheckpointHook):
        if '://' in str(hook.settings.get('out_dir')):
            raise UserError(
                f'default_hooks.checkpoint.out_dir={hook.settings["out_dir"]}: sharded '
                'checkpoints are written to local folders; set '
                'strategy.sharded_checkpoints=False'
            )
        if hook.settings.get('published_keys') is not None:
            raise UserError(
                'default_hooks.checkpoint.published_keys makes a file of a checkpoint that '
                'is one; set strategy.sharded_checkpoints=False'
            )
    if hook.name == 'SyncNormHook':
        raise UserError(
            'SyncNormHook averages whole weights of norms, which are sharded; write '
            "dict(type='SyncBuffersHook') in its place: the weights are the same "
            'everywhere in any case'
        )
    if hook.is_a(EMAHook):
        # A hook keeps the settings of its average apart.
        device = hook.settings.get('ema_cfg', hook.settings).get('device')
        if device is not None:
            raise UserError(
                f'EMAHook.device={device!r}: under {NAME} the average is sharded as the model '
                'is, and where that is; remove it'
            )
