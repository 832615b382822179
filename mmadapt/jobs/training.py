"""How a job trains: length, images at a time, optimizer, precision, checkpoints."""

import inspect

from mmengine.config import ConfigDict
from mmengine.registry import OPTIMIZERS

from ..recipes.changes import describe
from ..recipes.recipe import EVERYTHING
from ..values import nearest
from .draft import Draft
from .epochs import set_epochs
from .model import check_there

# Names of Hugging Face's TrainingArguments and others, and what torch calls them.
_OPTIMIZERS = {
    'adamw_torch': 'AdamW',
    'adamw': 'AdamW',
    'adamw_hf': 'AdamW',
    'adam': 'Adam',
    'sgd': 'SGD',
    'rmsprop': 'RMSprop',
    'adagrad': 'Adagrad',
    'paged_adamw_32bit': 'PagedAdamW32bit',
}


def set_length(draft: Draft) -> None:
    """EPOCHS."""
    epochs = draft.job.get('EPOCHS')
    draft.job.became('EPOCHS', '; '.join(set_epochs(draft.cfg, epochs)))


def set_loaders(draft: Draft) -> None:
    """BATCH_SIZE, NUM_WORKERS."""
    job, cfg = draft.job, draft.cfg
    batch, workers = job.get('BATCH_SIZE'), job.get('NUM_WORKERS')
    cfg.train_dataloader.batch_size = batch
    for loop in ('train', 'val', 'test'):
        loader = cfg.get(f'{loop}_dataloader')
        if loader:
            loader.num_workers = workers
            loader.persistent_workers = False
    steps = job.get('GRADIENT_ACCUMULATION_STEPS')
    processes = draft.processes * draft.nodes
    job.became(
        'BATCH_SIZE',
        f'train_dataloader.batch_size = {batch}; x {processes} processes x {steps} accumulated = '
        f'{batch * processes * steps} images a step',
    )
    job.became('NUM_WORKERS', f'num_workers = {workers} of every loader')


def set_optimizer(draft: Draft) -> None:
    """OPTIMIZER, LR, WEIGHT_DECAY, BETA1, BETA2, ADAM_EPS, GRADIENT_ACCUMULATION_STEPS."""
    job, wrapper = draft.job, draft.cfg.optim_wrapper
    said = job.get('OPTIMIZER')
    kind = _OPTIMIZERS.get(said.lower(), said)
    if kind == 'PagedAdamW32bit' and OPTIMIZERS.get(kind) is None:
        job.refuse(
            'OPTIMIZER',
            f'{said} is of bitsandbytes, which is not installed: mmadapt install quant; or take '
            'adamw_torch',
        )
        return
    if OPTIMIZERS.get(kind) is None:
        names = [*_OPTIMIZERS, *OPTIMIZERS.module_dict]
        job.refuse('OPTIMIZER', f'no optimizer {said!r}; nearest: {nearest(said, names)}')
        return
    arguments = inspect.signature(OPTIMIZERS.get(kind)).parameters
    lacking = [name for name in ('lr', 'weight_decay') if name not in arguments]
    if lacking:
        job.refuse('OPTIMIZER', f'{kind} takes no {" and ".join(lacking)}: take adamw_torch or sgd')
        return
    optimizer = ConfigDict(
        type=kind, lr=float(job.get('LR')), weight_decay=float(job.get('WEIGHT_DECAY'))
    )
    notes = ''
    values = dict(
        betas=('BETA1, BETA2', (float(job.get('BETA1')), float(job.get('BETA2')))),
        eps=('ADAM_EPS', float(job.get('ADAM_EPS'))),
    )
    for name, (keys, value) in values.items():
        there = [key for key in keys.split(', ') if key in job]
        if name in arguments and (there or 'Adam' in kind):
            optimizer[name] = value
            job.became(keys, f'optimizer.{name} = {value}')
        for key in [] if name in arguments else there:
            job.warn(key, f'{kind} has no such argument; it counts for AdamW')
    if kind == 'SGD':
        optimizer.momentum = 0.9
        notes = (
            '; momentum=0.9, as in stock configs: the job has no key for it but cfg_options: '
            '{optim_wrapper.optimizer.momentum: ...}'
        )
    if kind == 'PagedAdamW32bit':
        job.warn('OPTIMIZER', 'PagedAdamW32bit of bitsandbytes, which steps on a GPU only')
    wrapper.optimizer = optimizer
    job.became('OPTIMIZER', f'optim_wrapper.optimizer.type = {kind}{notes}')
    job.became('LR', f'optimizer.lr = {optimizer.lr:g}')
    job.became('WEIGHT_DECAY', f'optimizer.weight_decay = {optimizer.weight_decay:g}')
    steps = job.get('GRADIENT_ACCUMULATION_STEPS')
    wrapper.accumulative_counts = steps
    job.became('GRADIENT_ACCUMULATION_STEPS', f'optim_wrapper.accumulative_counts = {steps}')


def set_rate_by_batch(draft: Draft) -> None:
    """auto_scale_lr."""
    job, scale = draft.job, draft.cfg.get('auto_scale_lr') or ConfigDict()
    if not job.get('auto_scale_lr'):
        if 'auto_scale_lr' in job:
            job.became('auto_scale_lr', 'off: LR is the rate')
        if scale.get('enable'):
            draft.cfg.auto_scale_lr.enable = False
        return
    if not scale.get('base_batch_size'):
        job.refuse(
            'auto_scale_lr',
            f'{draft.stock.file.name} does not say for which batch its rate is: cfg_options: '
            '{auto_scale_lr.base_batch_size: N}',
        )
        return
    draft.cfg.auto_scale_lr = ConfigDict(scale, enable=True)
    job.became(
        'auto_scale_lr', f'LR x images of all processes / {scale.base_batch_size} of the config'
    )


def set_precision(draft: Draft, mixed: str) -> None:
    """FP16, amp, mixed_precision, downcast_bf16.

    Args:
        draft (Draft): The config.
        mixed (str): What FSDP's ``mixed_precision`` says: ``'no'``, ``'fp16'`` or ``'bf16'``.
    """
    job, cfg = draft.job, draft.cfg
    asked = [key for key in ('FP16', 'amp') if job.get(key)]
    dtype = {'fp16': 'float16', 'bf16': 'bfloat16'}.get(mixed)
    if asked:
        if dtype not in (None, 'float16'):
            job.refuse(', '.join(asked), f'mixed_precision says {mixed}; leave one of them out')
            return
        if job.values.get('mixed_precision') == 'no':
            job.refuse(', '.join(asked), 'mixed_precision says no; leave one of them out')
            return
        dtype = 'float16'
    by = ' and '.join(asked) or 'mixed_precision'
    for key in ('FP16', 'amp'):
        if key in job and not job.get(key):
            job.became(key, 'off' if dtype is None else f'off; {by} decides')
    wrapper = cfg.optim_wrapper
    if dtype is None:
        if 'mixed_precision' in job:
            job.became('mixed_precision', 'float32')
        for name in ('dtype', 'loss_scale'):  # of a stock config in mixed precision
            wrapper.pop(name, None)
        wrapper.type = 'OptimWrapper'
        return
    wrapper.type = 'AutocastOptimWrapper'
    wrapper.dtype = dtype
    if dtype == 'float16':
        wrapper.loss_scale = 'dynamic'
    cfg.memory = ConfigDict(cfg.get('memory') or {}, fp32_modules='auto')
    scaled = ', the loss scaled' if dtype == 'float16' else ''
    job.became(
        ', '.join(asked) or 'mixed_precision',
        f'autocast in {dtype}{scaled}; float32 where this model needs it',
    )


def set_checkpointing(draft: Draft) -> None:
    """GRADIENT_CHECKPOINTING."""
    job, cfg = draft.job, draft.cfg
    if not job.get('GRADIENT_CHECKPOINTING'):
        if 'GRADIENT_CHECKPOINTING' in job:
            job.became('GRADIENT_CHECKPOINTING', 'off')
        return
    # What cfg_options say comes first.
    blocks = (cfg.get('memory') or {}).get('checkpoint') or describe(cfg).blocks.get(EVERYTHING)
    if not blocks:
        job.refuse(
            'GRADIENT_CHECKPOINTING',
            'this model is no repetition of blocks; name modules: cfg_options: '
            '{memory.checkpoint: [...]}',
        )
        return
    cfg.memory = ConfigDict(cfg.get('memory') or {}, checkpoint=list(blocks))
    job.became('GRADIENT_CHECKPOINTING', f'memory.checkpoint = {list(blocks)}')


def set_checkpoints(draft: Draft) -> None:
    """INTERVAL, INTERVAL_STEPS, checkpoint_interval, NO_OF_CHECKPOINTS."""
    job, cfg = draft.job, draft.cfg
    by_steps = str(job.values.get('INTERVAL', 'steps')).startswith('step') and (
        'INTERVAL' in job or 'INTERVAL_STEPS' in job
    )
    hooks = cfg.get('default_hooks') or ConfigDict()
    hook = ConfigDict(hooks.get('checkpoint') or dict(type='CheckpointHook'))
    hook.by_epoch = not by_steps
    if by_steps:
        hook.interval = job.get('INTERVAL_STEPS')
        job.became('INTERVAL, INTERVAL_STEPS', f'a checkpoint every {hook.interval} iterations')
        if 'checkpoint_interval' in job:
            job.warn('checkpoint_interval', 'INTERVAL decides; this counts where it is absent')
    elif 'INTERVAL' in job:
        hook.interval = 1
        job.became('INTERVAL', 'a checkpoint every epoch')
        for key in ('INTERVAL_STEPS', 'checkpoint_interval'):
            if key in job:
                job.warn(key, f'INTERVAL is {job.get("INTERVAL")!r}, which decides')
    else:
        hook.interval = job.get('checkpoint_interval') if 'checkpoint_interval' in job else 1
        if 'checkpoint_interval' in job:
            job.became('checkpoint_interval', f'a checkpoint every {hook.interval} epochs')
    hook.max_keep_ckpts = job.get('NO_OF_CHECKPOINTS')
    job.became('NO_OF_CHECKPOINTS', f'the last {hook.max_keep_ckpts} are kept')
    for key in ('save_best', 'rule'):
        hook.pop(key, None)
    if job.get('DO_EVAL'):
        hook.update(save_best=draft.metric, rule='greater')
    hooks.checkpoint = hook
    cfg.default_hooks = hooks


def set_resuming(draft: Draft) -> None:
    """RESUME_FROM_CHECKPOINT, resume."""
    job, cfg = draft.job, draft.cfg
    paths = {job.get(key) for key in ('RESUME_FROM_CHECKPOINT', 'resume')} - {True, False, 'auto'}
    if len(paths) > 1:
        job.refuse('resume', 'RESUME_FROM_CHECKPOINT names another file; leave one of them out')
        return
    for path in paths:
        check_there(path, f'{job.source}: the checkpoint to go on from')
    for key in ('RESUME_FROM_CHECKPOINT', 'resume'):
        value = job.get(key)
        if value in (True, 'auto'):
            cfg.resume = True
            job.became(key, 'goes on from the last checkpoint of the work directory, if there is')
        elif value:
            cfg.resume, cfg.load_from = True, value
            job.became(key, f'goes on from {value}')
        elif key in job:
            job.became(key, 'a run of its own')


def set_loops(draft: Draft) -> None:
    """DO_TRAIN, DO_EVAL, SEED."""
    job, cfg = draft.job, draft.cfg
    if 'SEED' in job:
        cfg.randomness = ConfigDict(seed=job.get('SEED'))
        job.became('SEED', f'randomness.seed = {job.get("SEED")}')
    if not job.get('DO_TRAIN') and not job.get('DO_EVAL'):
        job.refuse('DO_TRAIN, DO_EVAL', 'both are off: nothing is left to do')
        return
    if not job.get('DO_TRAIN') and not cfg.get('load_from'):
        job.refuse('DO_TRAIN', 'is False, and nothing says what is tested: LOCAL_MODEL_PATH')
        return
    job.became('DO_TRAIN', 'trains' if job.get('DO_TRAIN') else 'only tests: mmadapt test')
    if not job.get('DO_EVAL'):
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        job.became('DO_EVAL', 'no validation')
    else:
        job.became('DO_EVAL', 'validated after every epoch')
