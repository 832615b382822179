"""Whether what was written after ``--cfg-options`` can have an effect."""

import inspect
import re
from collections.abc import Iterator

from mmengine.runner import FlexibleRunner, Runner

from ..errors import UserError
from ..values import close_names

# Top-level names that something else than a runner's constructor reads.
_OTHER_NAMES = (
    'activation_checkpointing',
    'auto_scale_lr',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'init_weights_for_test_or_val',
    'memory',
    'model_wrapper_cfg',
    'peft',
    'runner_type',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
)
_DICT = re.compile(r"""dict\(|\{['"}]""")
_KEY = re.compile(r"""['"]?(\w+)['"]?[=:]['"]?([^'",=(){}\[\]]+)""")
# A key that --cfg-options would take apart: a layer's name, a regular expression.
_NO_WORD = re.compile(r"""['"][^'"]*[^'"\w][^'"]*['"]\s*:""")
# Lists of which one item may stand for itself.
_ONE_IS_A_LIST = ('peft.targets', 'peft.exclude')


def runner_names() -> set[str]:
    """Return the top-level names of a config that a runner, a tool or this package reads."""
    names = {
        name
        for runner in (Runner, FlexibleRunner)
        for name in inspect.signature(runner.__init__).parameters
    }
    return (names | set(_OTHER_NAMES)) - {'self'}


def check_options(cfg: dict, options: dict | None) -> list[str]:
    """Find options that would change nothing.

    A config file is a program, read when ``--cfg-options`` comes: a new value of one of its
    variables (``max_epochs=12``) does not reach what was computed from the old one.

    Args:
        cfg (dict or Config): The config before the options are merged.
        options (dict, optional): What followed ``--cfg-options``: dotted names and values.

    Returns:
        list[str]: A line for each option that nothing in MMEngine reads.

    Raises:
        UserError: An option names a variable that other values of the file were computed from, is
            a misspelled top-level name, or was meant to be a dict.
    """
    read, unread = runner_names(), []
    for option, value in (options or {}).items():
        _refuse_dict(cfg, option, value)
        name = option.split('.')[0]
        if name in read:
            continue
        if name not in cfg:
            near = close_names(name, sorted(read), most=3)
            if near:
                raise UserError(
                    f'--cfg-options {option}={value}: no config has {name!r}; nearest: '
                    f'{", ".join(near)}'
                )
            continue
        places = [
            place for key in sorted(read & set(cfg)) for place in _places(cfg[key], name, key)
        ]
        if places:
            raise UserError(
                f'--cfg-options {option}={value}: {name} is a variable of the config file, which '
                f'has been read by now, so this changes nothing. Change it in the file, where all '
                f'that depends on it follows, or set {" ".join(places[:6])} here'
            )
        unread.append(
            f'--cfg-options {option}={value}: {name} is a variable of the config file, which has '
            'been read by now; unless code of your own reads it later, this changes nothing'
        )
    return unread


def is_dict(text: str) -> bool:
    """Return whether a text is a dict as Python writes it, or begins with one."""
    return _DICT.match(text) is not None


def _refuse_dict(cfg: dict, option: str, value) -> None:
    """Refuse a dict written out, of which MMEngine's parser makes a text."""
    items = value if isinstance(value, (list, tuple)) else [value]
    meant = next((item for item in items if isinstance(item, str) and is_dict(item)), None)
    if meant is None:
        return
    remedy = 'write it in the config'
    single = not isinstance(value, (list, tuple)) or option in _ONE_IS_A_LIST
    if single and not _NO_WORD.search(meant):
        owner, (*path, name) = cfg, option.split('.')
        for key in path:
            owner = (owner.get(key) if hasattr(owner, 'get') else None) or {}
        # MMEngine merges a dict into nothing else than a dict.
        replace = (
            f'{option}._delete_=True '
            if name in owner and not isinstance(owner[name], dict)
            else ''
        )
        keys = _KEY.findall(re.split('[)}]', meant)[0]) or [('type', 'NAME')]
        remedy = (
            f'{"of one, write " if isinstance(value, list) else "write "}key by key: '
            f'{replace}'
            + ' '.join(f'{option}.{key}={item}' for key, item in keys)
            + '; several belong into the config'
        )
    raise UserError(
        f'--cfg-options {option}: a dict cannot be written there, {meant!r} would '
        f'arrive as a text; {remedy}'
    )


def _places(node, name: str, path: str) -> Iterator[str]:
    """Yield the dotted names below ``path`` that end with ``name``."""
    items = (
        node.items()
        if isinstance(node, dict)
        else (enumerate(node) if isinstance(node, (list, tuple)) else ())
    )
    for key, value in items:
        if key == name:
            yield f'{path}.{key}'
        else:
            yield from _places(value, name, f'{path}.{key}')
