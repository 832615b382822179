"""Which runs FSDP2Strategy cannot do, for the strategy itself and for who plans with it."""

from collections.abc import Iterable, Mapping

from mmengine.hooks import CheckpointHook

from ..used_hooks import UsedHook


def why_not(cfg: Mapping, hooks: Iterable[UsedHook], options: Mapping, compiles: bool) -> str:
    """Return why the strategy refuses a run; nothing if it does not.

    Args:
        cfg (Config): The config of the run.
        hooks (Iterable[UsedHook]): Its hooks.
        options (Mapping): The strategy's arguments, of which ``meta_init`` and
            ``sharded_checkpoints`` are read.
        compiles (bool): Whether the model is to be compiled.
    """
    if compiles:
        return (
            'compile: a model is not compiled under FSDP2Strategy, which exchanges its weights '
            'while it computes; remove it, or train with mmadapt.DDPStrategy'
        )
    if options['meta_init'] and (cfg.get('peft') or {}).get('quant'):
        return (
            'strategy.meta_init=True: peft.quant quantizes in every process, and the first one '
            'alone has the weights; write meta_init=False'
        )
    for hook in hooks:
        if options['sharded_checkpoints'] and hook.is_a(CheckpointHook):
            if '://' in str(hook.settings.get('out_dir')):
                return (
                    f'default_hooks.checkpoint.out_dir={hook.settings["out_dir"]}: sharded '
                    'checkpoints are written to local folders; set '
                    'strategy.sharded_checkpoints=False'
                )
            if hook.settings.get('published_keys') is not None:
                return (
                    'default_hooks.checkpoint.published_keys makes a file of a checkpoint that '
                    'is one; set strategy.sharded_checkpoints=False'
                )
        if hook.name == 'SyncNormHook':
            return (
                'SyncNormHook averages whole weights of norms, which are divided; write '
                "dict(type='SyncBuffersHook') in its place: the weights are the same "
                'everywhere in any case'
            )
    return ''
