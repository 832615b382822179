"""The schedule of a job's rate, brought to the length of its run."""

from mmengine.config import ConfigDict

from ..errors import UserError
from ..optim.named_lr import SCHEDULES, schedule_named
from ..values import check_keys, nearest
from .draft import Draft

MMENGINE = ('CosineAnnealingLR', 'LinearLR', 'MultiStepLR')
PLATEAU = 'reduce_lr_on_plateau'
# Arguments of torch's ReduceLROnPlateau, which Hugging Face's Trainer takes, and MMEngine's.
_OF_PLATEAU = {key: key for key in ('factor', 'patience', 'threshold', 'cooldown', 'eps')}
_OF_PLATEAU |= dict(threshold_mode='threshold_rule', min_lr='min_value')
_WARMUP = ('WARMUP', 'WARMUP_RATIO', 'WARMUP_ITERS')


def set_schedule(draft: Draft) -> None:
    """SCHEDULER_TYPE and what belongs to it: BEGIN, END, T_MAX, MILESTONES, GAMMA, WARMUP..."""
    job = draft.job
    said = job.get('SCHEDULER_TYPE')
    known = {name.lower(): name for name in (*MMENGINE, *SCHEDULES, PLATEAU)}
    name = known.get(said.lower())
    if name is None:
        job.refuse(
            'SCHEDULER_TYPE', f'no schedule {said!r}; nearest: {nearest(said, known.values(), 3)}'
        )
        return
    if name in MMENGINE:
        schedulers = _by_epochs(draft, name)
    elif name == PLATEAU:
        schedulers = _plateau(draft)
    else:
        schedulers = _by_name(draft, name)
    if schedulers is not None:
        draft.cfg.param_scheduler = schedulers


def _by_epochs(draft: Draft, name: str) -> list[ConfigDict] | None:
    """One of MMEngine's, whose places are epochs."""
    job, epochs = draft.job, draft.job.get('EPOCHS')
    begin, said_end = job.get('BEGIN'), job.get('END')
    end = said_end or epochs
    if end > epochs and not draft.keeps_schedule:
        job.became('END', f'END {end} -> {epochs}, the end of the run')
        end = epochs
    elif said_end:
        job.became('END', f'the rate changes until epoch {end}')
    if begin >= end:
        job.refuse('BEGIN', f'epoch {begin} is not before the end, {end}')
        return None
    if 'BEGIN' in job:
        job.became('BEGIN', f'the rate changes from epoch {begin} on')
    main = ConfigDict(type=name, begin=begin, end=end, by_epoch=True, convert_to_iter_based=True)
    if name == 'CosineAnnealingLR':
        length = job.get('T_MAX') or end - begin
        if length > end - begin and not draft.keeps_schedule:
            job.became('T_MAX', f'T_MAX {length} -> {end - begin}, the end of the run')
            length = end - begin
        elif 'T_MAX' in job:
            job.became('T_MAX', f'the cosine reaches 0 after {length} epochs')
        main.update(T_max=length, eta_min=0.0)
        said = f'along a cosine to 0, {length} epoch{"s" * (length > 1)} long'
    elif name == 'LinearLR':
        main.update(start_factor=1.0, end_factor=0.0)
        said = f'along a line to 0 at epoch {end}'
    else:
        milestones = _milestones(draft, said_end)
        if milestones is None:
            return None
        wrong = [m for m in milestones if not begin < m < end]
        if wrong and not draft.keeps_schedule:
            job.refuse('MILESTONES', f'{wrong} are not between BEGIN {begin} and END {end}')
            return None
        # MMEngine counts them from where the schedule begins.
        main.update(milestones=[m - begin for m in milestones], gamma=float(job.get('GAMMA')))
        job.became('GAMMA', f'times {main.gamma:g} each time')
        said = f'steps at epochs {milestones}'
    for key, kind in (('T_MAX', 'CosineAnnealingLR'), ('MILESTONES', 'MultiStepLR')):
        if key in job and kind != name:
            job.warn(key, f'is of {kind}; SCHEDULER_TYPE is {name}')
    if 'GAMMA' in job and name != 'MultiStepLR':
        job.warn('GAMMA', f'is of MultiStepLR; SCHEDULER_TYPE is {name}')
    _refuse_options(draft, name)
    job.became('SCHEDULER_TYPE', f'param_scheduler {name}: {said}')
    return [*_warmup(draft), main]


def _milestones(draft: Draft, end: int | None) -> list[int] | None:
    """MILESTONES, brought to the run where it ends before the last of them."""
    job, epochs = draft.job, draft.job.get('EPOCHS')
    milestones = sorted(job.get('MILESTONES') or [])
    if not milestones:
        job.refuse('MILESTONES', 'MultiStepLR needs the epochs of its steps, such as [8, 11]')
        return None
    if milestones[-1] < epochs or draft.keeps_schedule:
        job.became('MILESTONES', f'milestones = {milestones}')
        return milestones
    if epochs == 1:
        job.refuse(
            'MILESTONES',
            f'{milestones} lie beyond the one epoch of the run, in which there is none to step at: '
            'CosineAnnealingLR falls within it; --keep-schedule leaves the rate as it is',
        )
        return None
    length = max(end or 0, milestones[-1] + 1)
    scaled = sorted({min(max(1, round(m * epochs / length)), epochs - 1) for m in milestones})
    job.became('MILESTONES', f'MILESTONES {milestones} -> {scaled}, in the run of {epochs} epochs')
    return scaled


def _warmup(draft: Draft) -> list[ConfigDict]:
    job = draft.job
    if not job.get('WARMUP'):
        for key in _WARMUP:
            if key in job:
                said = 'no warm-up' if key == 'WARMUP' else 'counts with WARMUP: True only'
                job.became(key, said) if key == 'WARMUP' else job.warn(key, said)
        return []
    factor, steps = float(job.get('WARMUP_RATIO')), job.get('WARMUP_ITERS')
    job.became('WARMUP, WARMUP_RATIO, WARMUP_ITERS', f'from {factor:g} of LR in {steps} iterations')
    return [ConfigDict(type='LinearLR', start_factor=factor, begin=0, end=steps, by_epoch=False)]


def _refuse_options(draft: Draft, name: str) -> None:
    if 'lr_scheduler_kwargs' in draft.job:
        draft.job.warn(
            'lr_scheduler_kwargs', f"is of Hugging Face's schedules; SCHEDULER_TYPE is {name}"
        )


def _without_epochs(draft: Draft, name: str) -> None:
    for key in ('BEGIN', 'END', 'T_MAX', 'MILESTONES', 'GAMMA'):
        if key in draft.job:
            draft.job.warn(
                key,
                f'is of {", ".join(MMENGINE)}; {name} goes from the first iteration to the last',
            )


def _by_name(draft: Draft, name: str) -> list[ConfigDict] | None:
    """One of Hugging Face's, over the iterations of the run."""
    job = draft.job
    options = job.get('lr_scheduler_kwargs') or {}
    warmup = job.get('WARMUP_ITERS') if job.get('WARMUP') else 0
    try:
        schedule_named(name, warmup, float(job.get('LR')), options)
    except UserError as error:
        job.refuse('SCHEDULER_TYPE', f'{error}: lr_scheduler_kwargs: {{...}}')
        return None
    _without_epochs(draft, name)
    if job.get('WARMUP'):
        job.became('WARMUP, WARMUP_ITERS', f'from 0 in {warmup} iterations')
        if 'WARMUP_RATIO' in job:
            job.warn('WARMUP_RATIO', f'{name} begins at 0')
    else:
        _warmup(draft)
    if options:
        job.became('lr_scheduler_kwargs', f'options = {options}')
    job.became('SCHEDULER_TYPE', f'{name}, step by step as in Hugging Face (NamedLR)')
    scheduler = ConfigDict(type='NamedLR', schedule=name, by_epoch=False)
    if warmup:
        scheduler.num_warmup_steps = warmup
    if options:
        scheduler.options = dict(options)
    return [scheduler]


def _plateau(draft: Draft) -> list[ConfigDict] | None:
    job = draft.job
    if not job.get('DO_EVAL'):
        job.refuse('SCHEDULER_TYPE', f'{PLATEAU} needs validation: DO_EVAL: True')
        return None
    options = {'factor': 0.1, 'patience': 10}
    given = job.get('lr_scheduler_kwargs') or {}
    try:
        check_keys('lr_scheduler_kwargs', given, [*_OF_PLATEAU])
    except UserError as error:
        job.refuse('lr_scheduler_kwargs', str(error))
        return None
    options |= {_OF_PLATEAU[key]: value for key, value in given.items()}
    _without_epochs(draft, PLATEAU)
    if 'lr_scheduler_kwargs' in job:
        job.became('lr_scheduler_kwargs', f'{options}')
    job.became(
        'SCHEDULER_TYPE',
        f'ReduceOnPlateauLR: times {options["factor"]} where {draft.metric} has not risen for '
        f'{options["patience"]} epochs',
    )
    main = ConfigDict(
        type='ReduceOnPlateauLR', monitor=draft.metric, rule='greater', by_epoch=True, **options
    )
    return [*_warmup(draft), main]
