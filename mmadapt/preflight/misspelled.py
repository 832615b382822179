"""Misspelled names in a config: MMEngine ignores them at the top, elsewhere it raises an error.

A config is a program, so that its top is full of variables of its own. What is near a key that is
read, is no such key and is not used by the rest of the program can only have been meant to be read.
"""

import re
import traceback
from collections.abc import Collection, Iterator, Mapping

from ..errors import UserError
from ..values import close_names, nearest
from .arguments import not_taken, parameters, unknown_arguments, unread_factors
from .evaluators import check_evaluators
from .options import runner_names
from .pipelines import check_transforms

# Of 2,032 stock configs of MMDetection, MMPretrain and MMSegmentation none has a variable so near
# to a key that nothing uses it, but for pipelines.
_NEAR = 0.85


def check_top(cfg: Mapping, text: str) -> None:
    """Check that no name at the top of a config is a misspelled key.

    Args:
        cfg (dict or Config): A whole config.
        text (str): The text of its files.

    Raises:
        UserError: One is, as far as can be told.
    """
    read = runner_names()
    for name in cfg:
        if name in read:
            continue
        near = close_names(name, sorted(read - {'tta_pipeline'}), likeness=_NEAR)
        if (
            near
            and not name.startswith(f'{near[0]}_')
            and not _is_used(name, text)
            and not any(_holds(cfg[key], cfg[name]) for key in read & set(cfg))
        ):
            raise UserError(
                f'the config sets {name!r} at its top, which nothing reads; nearest: '
                f'{near[0]!r}. (A variable of the config that is meant for something '
                'else needs another name)'
            )


def _is_used(name: str, text: str) -> bool:
    """Return whether a config's text has a name elsewhere than where it is set."""
    return len(re.findall(rf'\b{re.escape(name)}\b', text)) > len(
        re.findall(rf'^{re.escape(name)}\s*=(?!=)', text, re.MULTILINE)
    )


def _holds(node, value) -> bool:
    """Return whether a list or dict is found in another value, as in a config that was dumped."""
    if not value or not isinstance(value, (list, tuple, Mapping)):
        return False
    inner = (
        node.values()
        if isinstance(node, Mapping)
        else (node if isinstance(node, (list, tuple)) else ())
    )
    return node == value or any(_holds(each, value) for each in inner)


def check_arguments(cfg: Mapping, loops: Collection[str]) -> None:
    """Check that what a run builds beside its model takes what the config gives it, and does it.

    Args:
        cfg (dict or Config): A whole config.
        loops (Collection[str]): Which of 'train', 'val' and 'test' run.

    Raises:
        UserError: It does not; a line each.
    """
    keys = ['default_hooks', 'custom_hooks', 'visualizer', 'log_processor']
    for loop in loops:
        keys += [f'{loop}_cfg', f'{loop}_dataloader', f'{loop}_evaluator']
    if 'train' in loops:
        keys += ['optim_wrapper', 'param_scheduler']
    found = list(unknown_arguments(cfg, keys))
    if 'train' in loops:
        found += unread_factors(cfg.get('optim_wrapper'))
    found += [*check_transforms(cfg, loops), *check_evaluators(cfg, loops)]
    if found:
        raise UserError('\n'.join(found))


def explain_building(error: BaseException, cfg: Mapping | None = None) -> str | None:
    """Return the line to show where a part of a config could not be built for a name in it.

    Args:
        error (BaseException): What building has raised.
        cfg (dict or Config, optional): The config, for where in it the name is.

    Returns:
        str, optional: None where something else was wrong.
    """
    building = [
        frame
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_name == 'build_from_cfg'
    ]
    if not building or not isinstance(error, (KeyError, TypeError)):
        return None
    known = building[-1].f_locals
    if isinstance(error, KeyError):
        if 'is not in the' not in str(error) or known.get('obj_cls', '') is not None:
            return None
        kind, registry = known['obj_type'], known['registry']
        names, above = set[str](), registry
        while above is not None:
            names, above = names.union(above.module_dict), above.parent
        return (
            f'{_place(cfg, kind, "type")}={kind!r}: nothing of that name is registered for a '
            f'{registry.name}; nearest: {nearest(kind, sorted(names))}'
        )
    argument = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if argument is None or argument[1] not in known.get('args', {}) or 'obj_cls' not in known:
        return None
    key, kind = argument[1], known['obj_cls']
    return not_taken(_place(cfg, known['obj_type'], key), kind.__name__, key, parameters(kind)[0])


def _place(cfg: Mapping | None, kind, key: str) -> str:
    """Return where in a config something of a type has a key, or the key alone."""
    # Config itself is no Mapping.
    found = sorted(set(_places(getattr(cfg, '_cfg_dict', cfg), kind, key, '')))
    return ' or '.join(found[:3]) or key


def _places(node, kind, key: str, path: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        if node.get('type') == kind and key in node:
            yield f'{path}{key}'
        for name, value in node.items():
            yield from _places(value, kind, key, f'{path}{name}.')
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _places(value, kind, key, f'{path}{index}.')
