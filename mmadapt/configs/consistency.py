"""Values of a config that depend on the length of the run and do not fit it.

A child config that sets ``max_epochs`` leaves the cosine's end, the milestones and the epoch of a
pipeline switch where they were, because its bases computed them when they were read; a warm-up of
1,000 iterations stays one on a data set of 80. MMEngine runs such a config without a word; here
each such value becomes one line.
"""

from collections.abc import Iterator

from .averages import check_averages

# Their value at the end of the run is what they are for; of a step or a constant it is not.
_RAMPS = ('Cosine', 'Linear', 'Poly', 'OneCycle')
_WARM_UPS = ('Linear', 'Constant', 'QuadraticWarmup')
# Of a run, what a warm-up takes where it has to be shortened.
_SHARE = 20


def find_inconsistencies(cfg: dict, epoch_length: int | None = None) -> list[str]:
    """List the values of a training config that do not fit the length of its run.

    Args:
        cfg (dict or Config): A whole config. One without ``train_cfg`` has nothing to check.
        epoch_length (int, optional): How many iterations an epoch has. None where the data loader
            has not been built; then nothing is said of what counts iterations in a run by epochs.

    Returns:
        list[str]: One line each: where, what will happen, what to write instead. Empty when all
        fit.
    """
    train_cfg = cfg.get('train_cfg') or {}
    epochs, iters = train_cfg.get('max_epochs'), train_cfg.get('max_iters')
    if epochs is not None:
        iters = epochs * epoch_length if epoch_length else None
    found = list(_check_schedulers(cfg.get('param_scheduler'), epochs, iters))
    if epochs is not None:
        found += _check_hooks(cfg, epochs)
    if iters is not None:
        found += check_averages(cfg, iters, epoch_length)
    return found


def _check_schedulers(schedulers, epochs: int | None, iters: int | None) -> Iterator[str]:
    groups = {'param_scheduler': schedulers or []}
    if isinstance(schedulers, dict):
        groups = {'param_scheduler': [schedulers]} if 'type' in schedulers else {
            f'param_scheduler.{name}': group for name, group in schedulers.items()}
    for name, group in groups.items():
        for index, scheduler in enumerate(group if isinstance(group, (list, tuple)) else [group]):
            if not isinstance(scheduler, dict) or 'type' not in scheduler:
                continue
            where = f'{name}[{index}] ({_kind(scheduler)})'
            by_epoch = scheduler.get('by_epoch', True)
            length = epochs if by_epoch else iters
            if by_epoch and epochs is None and iters is not None \
                    and not scheduler.get('convert_to_iter_based'):
                yield (f'{where} steps by epochs, of which a run by iterations has none: it never '
                       'acts; write by_epoch=False')
            if length is None:
                continue
            unit = 'epoch' if by_epoch else 'iteration'
            option = f'{name}.{index}' if isinstance(group, (list, tuple)) else name
            for problem in _check_scheduler(scheduler, length, unit, option):
                yield f'{where} {problem}'


def _kind(scheduler: dict) -> str:
    kind = scheduler['type']
    return getattr(kind, '__name__', str(kind)).split('.')[-1]


def _check_scheduler(scheduler: dict, length: int, unit: str, option: str) -> Iterator[str]:
    begin, kind = scheduler.get('begin', 0), _kind(scheduler)
    end, period = scheduler.get('end', length), scheduler.get('T_max')
    if begin >= length:
        fits = '; without begin, end and T_max MMEngine fits it to the run' if any(
            name in kind for name in _RAMPS) else ''
        yield f'begins at {unit} {begin}, when the run of {length} is over: it never acts{fits}'
        return
    late = [step for step in scheduler.get('milestones', []) if begin + step >= length]
    if late:
        yield f'has milestones {late} that a run of {length} {unit}s never reaches'
    if _warms_up(scheduler, kind):
        # One that ends where the run does was maybe meant to take all of it.
        if end > length or (end - begin) * 2 > length != end:
            yield _too_long(scheduler, kind, length, unit, option)
        return
    if not any(name in kind for name in _RAMPS):
        return
    if end > length:
        yield (f'ends at {unit} {end}, the run at {length}: the rate stops on its way; '
               'leave out `end` and `T_max`, and MMEngine fits them to the run')
    elif period and abs(period - (end - begin)) > 0.05 * (end - begin) and 'Restart' not in kind:
        effect = 'stops on its way' if period > end - begin else 'rises again'
        yield (f'has T_max={period} for the {end - begin} {unit}s that it acts: the rate {effect}; '
               'leave out `T_max`')


def _warms_up(scheduler: dict, kind: str) -> bool:
    if 'Linear' in kind:
        return scheduler.get('end_factor', 1.0) > scheduler.get('start_factor', 1 / 3)
    return any(name in kind for name in _WARM_UPS) and 'end' in scheduler


def _too_long(scheduler: dict, kind: str, length: int, unit: str, option: str) -> str:
    begin, end = scheduler.get('begin', 0), scheduler['end']
    reached = ''
    if end > length and 'Quadratic' not in kind:
        low = scheduler.get('start_factor', scheduler.get('factor', 1 / 3))
        high = scheduler.get('end_factor', 1.0) if 'Linear' in kind else low
        last = 0 if scheduler.get('convert_to_iter_based') else 1  # then the last epoch has many
        share = (length - begin - last) / (end - begin - last)
        reached = f': the rate reaches {low + (high - low) * share:.1%} of its value'
    mend = f'--cfg-options {option}.end={begin + max(1, length // _SHARE)}'
    return (f'warms up until {unit} {end} of a run of {length}{reached}; {mend}, and let the next '
            'scheduler begin there')


def _check_hooks(cfg: dict, epochs: int) -> Iterator[str]:
    for index, hook in enumerate(cfg.get('custom_hooks') or []):
        if not isinstance(hook, dict):
            continue
        where = f'custom_hooks[{index}] ({hook.get("type")})'
        switch, last = hook.get('switch_epoch'), hook.get('num_last_epochs')
        if switch is not None and switch >= epochs:
            yield (f'{where} switches at epoch {switch}, when the run of {epochs} is over: it '
                   f'never switches; set switch_epoch below {epochs}')
        elif switch is not None and switch < 0:
            yield (f'{where} has switch_epoch={switch}: the whole run has the pipeline meant for '
                   'its end; 0 would say so')
        if last is not None and last >= epochs:
            yield (f'{where} acts on the last {last} epochs of a run of {epochs}: on all of them; '
                   f'set num_last_epochs below {epochs}')
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    interval = checkpoint.get('interval', 1)
    if checkpoint.get('by_epoch', True) and epochs < interval and epochs > 1:
        yield (f'default_hooks.checkpoint.interval={interval} in a run of {epochs} epochs: no '
               'checkpoint before its end, and nothing to resume from when it is interrupted')
