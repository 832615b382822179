"""Values of a config that depend on the length of the run and do not fit it.

A child config that sets ``max_epochs`` leaves the cosine's end, the milestones and the epoch of a
pipeline switch where they were, because its bases computed them when they were read. MMEngine runs
such a config without a word; here each such value becomes one line.
"""

from collections.abc import Iterator

# Their value at the end of the run is what they are for; of a step or a constant it is not.
_RAMPS = ('Cosine', 'Linear', 'Poly', 'OneCycle')


def find_inconsistencies(cfg: dict) -> list[str]:
    """List the values of a training config that do not fit the length of its run.

    Args:
        cfg (dict or Config): A whole config. One without ``train_cfg`` has nothing to check.

    Returns:
        list[str]: One line each: where, what will happen, what to write instead. Empty when all
        fit.
    """
    train_cfg = cfg.get('train_cfg') or {}
    epochs, iters = train_cfg.get('max_epochs'), train_cfg.get('max_iters')
    found = list(_check_schedulers(cfg.get('param_scheduler'), epochs, iters))
    if epochs is not None:
        found += _check_hooks(cfg, epochs)
    return found


def _check_schedulers(schedulers, epochs: int | None, iters: int | None) -> Iterator[str]:
    if isinstance(schedulers, dict):
        schedulers = [schedulers] if 'type' in schedulers else [
            scheduler for group in schedulers.values() for scheduler in group]
    for index, scheduler in enumerate(schedulers or []):
        by_epoch = scheduler.get('by_epoch', True)
        # How many iterations an epoch has is not known before the data set is built.
        length = epochs if by_epoch else iters
        if length is None or 'type' not in scheduler:
            continue
        where = f'param_scheduler[{index}] ({scheduler["type"]})'
        for problem in _check_scheduler(scheduler, length, 'epoch' if by_epoch else 'iteration'):
            yield f'{where} {problem}'


def _check_scheduler(scheduler: dict, length: int, unit: str) -> Iterator[str]:
    begin, kind = scheduler.get('begin', 0), str(scheduler['type'])
    end, period = scheduler.get('end', length), scheduler.get('T_max')
    if begin >= length:
        yield f'begins at {unit} {begin}, when the run of {length} is over: it never acts'
        return
    late = [step for step in scheduler.get('milestones', []) if begin + step >= length]
    if late:
        yield f'has milestones {late} that a run of {length} {unit}s never reaches'
    if not any(name in kind for name in _RAMPS):
        return
    if end > length:
        yield (f'ends at {unit} {end}, the run at {length}: the rate stops on its way; '
               'leave out `end` and `T_max`, and MMEngine fits them to the run')
    elif period and abs(period - (end - begin)) > 0.05 * (end - begin) and 'Restart' not in kind:
        effect = 'stops on its way' if period > end - begin else 'rises again'
        yield (f'has T_max={period} for the {end - begin} {unit}s that it acts: the rate {effect}; '
               'leave out `T_max`')


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
