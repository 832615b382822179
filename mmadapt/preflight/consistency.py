"""Values of a config that depend on the length of the run and do not fit it.

A child config that sets ``max_epochs`` leaves the cosine's end, the milestones and the epoch of a
pipeline switch where they were, because its bases computed them when they were read; a warm-up of
1,000 iterations stays one on a data set of 80. MMEngine runs such a config without a word; here
each such value becomes one line.
"""

from collections.abc import Iterator

from ..type_names import type_name
from .averages import check_averages

# Their value at the end of the run is what they are for; of a step or a constant it is not.
_RAMPS = ('Cosine', 'Linear', 'Poly', 'OneCycle')
_WARM_UPS = ('Linear', 'Constant', 'QuadraticWarmup')
# Of a run, what a warm-up takes where it has to be shortened, and what another pipeline at its end.
_SHARE = _END = 20


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
    if isinstance(schedulers, dict) and 'type' not in schedulers:  # of several optimizers
        groups = {f'param_scheduler.{name}': group for name, group in schedulers.items()}
    for name, group in groups.items():
        is_list = isinstance(group, (list, tuple))
        # What is said of one is to hold when what was said before it has been done.
        mended = [
            dict(each) if isinstance(each, dict) else {} for each in (group if is_list else [group])
        ]
        for index, scheduler in enumerate(mended):
            if 'type' not in scheduler:
                continue
            for problem, changes in _check_scheduler(mended, index, epochs, iters):
                options = []
                for changed, values in changes.items():
                    mended[changed].update(values)
                    place = f'{name}.{changed}' if is_list else name
                    options += [f'{place}.{key}={_typed(value)}' for key, value in values.items()]
                yield (
                    f'{name}[{index}] ({type_name(scheduler["type"])}) {problem}; '
                    f'--cfg-options {" ".join(options)}'
                )


def _typed(value) -> str:
    return f'"{value}"'.replace(' ', '') if isinstance(value, list) else str(value)


def _check_scheduler(
    group: list[dict], index: int, epochs: int | None, iters: int | None
) -> Iterator[tuple[str, dict[int, dict]]]:
    """Yield what is wrong with a scheduler, and what to change of which one of its group."""
    scheduler, by_epoch = group[index], group[index].get('by_epoch', True)
    length, unit = (epochs, 'epoch') if by_epoch else (iters, 'iteration')
    if (
        by_epoch
        and epochs is None
        and iters is not None
        and not scheduler.get('convert_to_iter_based')
    ):
        yield (
            'steps by epochs, of which a run by iterations has none: it never acts',
            {index: dict(by_epoch=False)},
        )
    if length is None:
        return
    begin, kind = scheduler.get('begin', 0), type_name(scheduler['type'])
    if begin >= length:
        yield (
            f'begins at {unit} {begin}, when the run of {length} is over: it never acts',
            {index: _within(scheduler, _free_from(group[:index], by_epoch, length), length)},
        )
        begin = scheduler['begin']
    end, period = scheduler.get('end', length), scheduler.get('T_max')
    late = [step for step in scheduler.get('milestones', []) if begin + step >= length]
    if late:
        yield (
            f'has milestones {late} that a run of {length} {unit}s never reaches',
            {index: dict(milestones=_earlier(scheduler['milestones'], length - begin))},
        )
    if _warms_up(scheduler, kind):
        # One that ends where the run does was maybe meant to take all of it.
        if end > length or (end - begin) * 2 > length != end:
            right = begin + max(1, length // _SHARE)
            follows = (
                index + 1 < len(group)
                and group[index + 1].get('begin') == end
                and group[index + 1].get('by_epoch', True) == by_epoch
            )
            yield (
                _too_long(scheduler, kind, length, unit),
                {index: dict(end=right), **({index + 1: dict(begin=right)} if follows else {})},
            )
        return
    if not any(name in kind for name in _RAMPS):
        return
    if end > length:
        yield (
            f'ends at {unit} {end}, the run at {length}: the rate stops on its way',
            {index: _within(scheduler, begin, length)},
        )
    elif period and abs(period - (end - begin)) > 0.05 * (end - begin) and 'Restart' not in kind:
        effect = 'stops on its way' if period > end - begin else 'rises again'
        yield (
            f'has T_max={period} for the {end - begin} {unit}s that it acts: the rate {effect}',
            {index: dict(T_max=end - begin)},
        )


def _free_from(earlier: list[dict], by_epoch: bool, length: int) -> int:
    """Return where of a run the schedulers before one have ended, or its last epoch."""
    ends = [
        each.get('end', length)
        for each in earlier
        if 'type' in each and each.get('by_epoch', True) == by_epoch
    ]
    return min(max(ends, default=0), length - 1)


def _within(scheduler: dict, begin: int, length: int) -> dict:
    """Return the changes that let a scheduler act from ``begin`` to the end of the run."""
    changes = dict(begin=begin) if begin != scheduler.get('begin', 0) else {}
    changes['end'] = length
    for name in ('T_max', 'total_steps'):
        if scheduler.get(name):
            changes[name] = length - begin
    return changes


def _earlier(milestones: list[int], length: int) -> list[int]:
    """Return milestones in the same proportions, the last one at eleven twelfths of the run."""
    last = min(length - 1, round(length * 11 / 12))
    return sorted({round(step * last / max(milestones)) for step in milestones} - {0})


def _warms_up(scheduler: dict, kind: str) -> bool:
    if 'Linear' in kind:
        return scheduler.get('end_factor', 1.0) > scheduler.get('start_factor', 1 / 3)
    return any(name in kind for name in _WARM_UPS) and 'end' in scheduler


def _too_long(scheduler: dict, kind: str, length: int, unit: str) -> str:
    begin, end = scheduler.get('begin', 0), scheduler['end']
    reached = ''
    if end > length and 'Quadratic' not in kind:
        low = scheduler.get('start_factor', scheduler.get('factor', 1 / 3))
        high = scheduler.get('end_factor', 1.0) if 'Linear' in kind else low
        last = 0 if scheduler.get('convert_to_iter_based') else 1  # then the last epoch has many
        share = (length - begin - last) / (end - begin - last)
        reached = f': the rate reaches {low + (high - low) * share:.1%} of its value'
    return f'warms up until {unit} {end} of a run of {length}{reached}'


def _check_hooks(cfg: dict, epochs: int) -> Iterator[str]:
    for index, hook in enumerate(cfg.get('custom_hooks') or []):
        if not isinstance(hook, dict):
            continue
        where = f'custom_hooks[{index}] ({hook.get("type")})'
        option = f'--cfg-options custom_hooks.{index}'
        switch, last = hook.get('switch_epoch'), hook.get('num_last_epochs')
        right = max(0, epochs - max(1, epochs // _END))
        if switch is not None and switch >= epochs:
            yield (
                f'{where} switches at epoch {switch}, when the run of {epochs} is over: it '
                f'never switches; {option}.switch_epoch={right}'
            )
        elif switch is not None and switch < 0:
            yield (
                f'{where} has switch_epoch={switch}: the whole run has the pipeline meant for '
                f'its end; {option}.switch_epoch={right}, or 0 if that is meant'
            )
        # YOLOXModeSwitchHook acts on one epoch more than it says.
        if last is not None and last >= epochs - 1 and last >= 0:
            yield (
                f'{where} has num_last_epochs={last}, the run {epochs} epochs: it acts on all '
                f'of them; {option}.num_last_epochs={min(max(1, epochs // _END), epochs - 2)}'
            )
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    interval = checkpoint.get('interval', 1)
    if checkpoint.get('by_epoch', True) and epochs < interval and epochs > 1:
        yield (
            f'default_hooks.checkpoint.interval={interval} in a run of {epochs} epochs: no '
            'checkpoint before its end, and nothing to resume from when it is interrupted; '
            '--cfg-options default_hooks.checkpoint.interval=1'
        )
