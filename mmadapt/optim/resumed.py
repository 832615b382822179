"""What a resumed run takes from its checkpoint though the config says otherwise.

MMEngine restores schedulers and optimizer whole, their settings included: other milestones or
another rate are without effect once a run is resumed. How long it is, the config alone decides.
"""

from collections.abc import Iterator, Mapping, Sequence

# What moves while a run goes on, or is of its machinery.
_MOVING = {
    'last_step',
    '_global_step',
    '_last_value',
    'verbose',
    'base_values',
    'optimizer',
    'best',
    'num_bad_epochs',
    'cooldown_counter',
    'rule_worse',
    'anneal_func',
}


def resumed_differences(
    checkpoint: Mapping, schedulers, groups: Sequence[Mapping] | None
) -> list[str]:
    """List the settings of a run's schedule that the checkpoint has otherwise.

    Args:
        checkpoint (dict): A checkpoint that is going to be resumed.
        schedulers (list or dict): The schedulers that were built from the config.
        groups (list[dict], optional): The optimizer's ``param_groups``, as the config makes them.

    Returns:
        list[str]: Name, the checkpoint's value and the config's, each as one string.
    """
    found: list[str] = []
    saved = checkpoint.get('param_schedulers')
    if saved is not None and schedulers is not None:
        if isinstance(schedulers, Mapping) and isinstance(saved, Mapping):
            for name in schedulers:
                found += _of_schedulers(
                    f'param_scheduler.{name}', schedulers[name], saved.get(name, [])
                )
        elif not isinstance(schedulers, Mapping) and not isinstance(saved, Mapping):
            found += _of_schedulers('param_scheduler', schedulers, saved)
    old = (checkpoint.get('optimizer') or {}).get('param_groups')
    if isinstance(groups, list) and isinstance(old, list) and len(old) == len(groups):
        found += _of_groups(groups, old)
    return found


def report_resumed(
    checkpoint: Mapping, differences: Sequence[str], train_cfg: Mapping, path: str
) -> list[str]:
    """Return what to log of a run that is resumed and is not what its config says, or is over.

    Args:
        checkpoint (dict): The checkpoint that is going to be resumed.
        differences (list[str]): The result of :func:`resumed_differences`.
        train_cfg (dict): How long the run is, as the config says.
        path (str): The checkpoint, for messages.

    Returns:
        list[str]: A line each.
    """
    lines = []
    if differences:
        lines.append(
            '--resume goes on with the schedule and the optimizer of the checkpoint, '
            f'where the config differs: {"; ".join(differences)}. A run by the config '
            'starts from the checkpoint with load_from, without --resume'
        )
    name = 'max_epochs' if train_cfg.get('max_epochs') is not None else 'max_iters'
    length, unit = train_cfg.get(name), name.removeprefix('max_')
    done = (checkpoint.get('meta') or {}).get(unit.removesuffix('s'))
    if length is None or done is None:
        return lines
    before = ((checkpoint.get('message_hub') or {}).get('runtime_info') or {}).get(name, length)
    if done >= length:
        return [
            f'--resume: {path} is the end of a finished run: it has {done} of the {length} '
            f'{unit} of the config, so that nothing is left to train. --cfg-options '
            f'train_cfg.{name}=N with N above {done} goes on, with the rate and the schedule '
            f'of the checkpoint; load_from={path} without --resume starts a new run from it'
        ]
    if before != length:
        lines.append(
            f'--resume goes on from {unit.removesuffix("s")} {done} to {length}, as '
            f'train_cfg.{name} of the config says; it was {before} when the checkpoint '
            'was written'
        )
    return lines


def drop_functions(checkpoint: dict) -> None:
    """Drop what of the schedulers' states is no value: a built scheduler has it.

    MMEngine's OneCycleLR keeps its function there, and ``torch.load`` refuses a file with one.

    Args:
        checkpoint (dict): What is about to be written; changed in place.
    """
    saved = checkpoint.get('param_schedulers') or []
    groups = saved.values() if isinstance(saved, Mapping) else [saved]
    for state in (state for group in groups for state in group):
        for name in [name for name, value in state.items() if callable(value)]:
            del state[name]


def _of_schedulers(where: str, schedulers: Sequence, saved: Sequence[Mapping]) -> Iterator[str]:
    if len(schedulers) != len(saved):
        yield f'{len(saved)} schedulers (config: {len(schedulers)})'
        return
    for index, (scheduler, old) in enumerate(zip(schedulers, saved, strict=True)):
        new = scheduler.state_dict()
        names = [name for name in new if name in old and name not in _MOVING]
        for name in names:
            if not _is_same(new[name], old[name]):
                yield (f'{where}[{index}].{name} {_shown(old[name])} (config: {_shown(new[name])})')


def _of_groups(groups: Sequence[Mapping], saved: Sequence[Mapping]) -> Iterator[str]:
    said = set()
    for new, old in zip(groups, saved, strict=True):
        # Of what a scheduler moves, the value it began with.
        moved = {
            name.removeprefix('initial_') for name in (*new, *old) if name.startswith('initial_')
        }
        for name in new:
            if name == 'params' or name in moved or name in said or name not in old:
                continue
            if isinstance(new[name], (bool, int, float, tuple, list, type(None))) and not _is_same(
                new[name], old[name]
            ):
                said.add(name)
                yield (
                    f'optimizer.{name.removeprefix("initial_")} {_shown(old[name])} '
                    f'(config: {_shown(new[name])})'
                )


def _is_same(one, other) -> bool:
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return abs(one - other) <= 1e-9 * max(abs(one), abs(other))
    return one == other


def _shown(value) -> str:
    if isinstance(value, Mapping):  # milestones are counted
        return str(sorted(value))
    return f'{value:g}' if isinstance(value, float) else str(value)
