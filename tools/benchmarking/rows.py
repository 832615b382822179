"""The rows: ways of fine-tuning one model, each a value of `peft` or another library's."""

import inspect
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib.util import find_spec

from mmadapt import UserError
from mmadapt.adapters import ADAPTERS

RANKS, ALPHA, DROPOUT = (8, 32), 16, 0.1
METHODS = ('LoRA', 'DoRA', 'SSF')
NORMS = {
    '': ('norms folded', dict(norm='freeze', fold_norm=True)),
    '-unfolded': ('norms frozen', dict(norm='freeze', fold_norm=False)),
    '-affine': ('norm affine trained', dict(norm='affine')),
}
REFERENCE = 'full'


@dataclass(frozen=True)
class Row:
    """One way of fine-tuning.

    Args:
        name (str): What ``--rows`` calls it.
        title (str): What the tables call it.
        kind (str): ``'full'``: the stock model as it is; ``'peft'``; ``'hf'``; ``'mmpretrain'``.
        peft (dict): The ``peft`` key; of another library's row, that whose layers it adapts.
        dora (bool): Whether Hugging Face's row is DoRA.
        remade (str): What is made again in the backward pass: ``'nothing'``, ``'cheap'`` what is
            cheap, or ``'all'`` levels that the model has.
    """

    name: str
    title: str
    kind: str
    peft: dict = field(default_factory=dict)
    dora: bool = False
    remade: str = 'nothing'


def all_rows() -> tuple[list[Row], dict[str, str]]:
    """Return the rows that can be measured here, and why each of the others is left out.

    The adapter methods are those registered in ADAPTERS.
    """
    rows = [
        Row(REFERENCE, 'full fine-tuning', 'full'),
        Row('head', 'head only', 'peft', dict(method=None)),
        Row(
            'norm-affine',
            'norm affine only',
            'peft',
            dict(method=None, head='freeze', norm='affine'),
        ),
    ]
    left_out: dict[str, str] = {}
    others = []
    for r in RANKS:
        for dropout, suffix, words in ((0, '', ''), (DROPOUT, '-dropout', f', dropout {DROPOUT}')):
            peft = _peft('LoRA', r, dropout, {})
            others.append(Row(f'hf-lora-r{r}{suffix}', f'HF LoRA r={r}{words}', 'hf', peft))
        others.append(Row(f'hf-dora-r{r}', f'HF DoRA r={r}', 'hf', _peft('LoRA', r, 0, {}), True))
        others.append(
            Row(
                f'mmpretrain-lora-r{r}',
                f'MMPretrain LoRAModel r={r}',
                'mmpretrain',
                _peft('LoRA', r, 0, {}),
            )
        )
    for row in others:
        package = dict(hf='peft', mmpretrain='mmpretrain')[row.kind]
        if 'LoRA' in ADAPTERS.module_dict and find_spec(package) is not None:
            rows.append(row)
        else:
            left_out[row.name] = f'{package} is not installed'
    for method in METHODS:
        if method not in ADAPTERS.module_dict:
            left_out[f'{method.lower()}*'] = f'{method} is not registered in ADAPTERS'
    for method in sorted(ADAPTERS.module_dict, key=lambda m: (*METHODS, m).index(m)):
        rows += _rows_of_method(method)
    rows += _rows_of_lora_options()
    made_again = [
        replace(row, name=row.name + suffix, title=row.title + words, remade=remade)
        for suffix, words, remade in (
            ('-remade', ', made again', 'cheap'),
            ('-levels', ', made again, all levels', 'all'),
        )
        for row in rows
        if row.kind in ('full', 'peft') and not row.name.endswith(('-unfolded', '-affine'))
    ]
    return rows + made_again, left_out


def select_rows(patterns: list[str] | None) -> tuple[list[Row], dict[str, str]]:
    """Return the rows that names and globs mean, and why some of these are left out.

    Full fine-tuning is always among them: all others are compared with it.

    Raises:
        UserError: A pattern means none.
    """
    rows, left_out = all_rows()
    if patterns is None:
        return rows, left_out
    names = [row.name for row in rows] + list(left_out)
    for pattern in patterns:
        if not any(_means(pattern, name) for name in names):
            near = get_close_matches(pattern, names, n=1, cutoff=0.0)
            raise UserError(f'--rows: {pattern!r} means none; nearest: {near[0]!r}, all: {names}')

    def wanted(name):
        return any(_means(pattern, name) for pattern in patterns)

    return (
        [row for row in rows if wanted(row.name) or row.name == REFERENCE],
        {name: why for name, why in left_out.items() if wanted(name)},
    )


def _means(pattern: str, name: str) -> bool:
    # What is left out may be a whole family, such as `dora*`.
    return fnmatchcase(name, pattern) or fnmatchcase(pattern, name)


def _rows_of_method(method: str) -> list[Row]:
    arguments = inspect.signature(ADAPTERS.module_dict[method]).parameters
    rows = []
    for r in RANKS if 'r' in arguments else (None,):
        for dropout in (0, DROPOUT) if method == 'LoRA' else (0,):
            for suffix, (words, norm) in NORMS.items():
                name = method.lower() + (f'-r{r}' if r else '') + ('-dropout' if dropout else '')
                title = (
                    method + (f' r={r}' if r else '') + (f', dropout {dropout}' if dropout else '')
                )
                rows.append(
                    Row(name + suffix, f'{title}, {words}', 'peft', _peft(method, r, dropout, norm))
                )
    return rows


def _rows_of_lora_options() -> list[Row]:
    """Return rows of LoRA with A frozen, and with dropout of whole channels."""
    if 'LoRA' not in ADAPTERS.module_dict:
        return []
    options = {
        'lora-fa-r{}': ('LoRA-FA r={}', dict(freeze_A=True)),
        'lora-r{}-channel': (
            f'LoRA r={{}}, dropout {DROPOUT} of channels',
            dict(dropout=DROPOUT, dropout_mode='channel'),
        ),
    }
    words, norm = NORMS['']
    rows = []
    for name, (title, changes) in options.items():
        for r in RANKS:
            peft = _peft('LoRA', r, 0, norm)
            peft['method'].update(changes)
            rows.append(Row(name.format(r), f'{title.format(r)}, {words}', 'peft', peft))
    return rows


def _peft(method: str, r: int | None, dropout: float, norm: dict) -> dict:
    arguments = dict(type=method)
    if r:
        arguments.update(r=r, alpha=ALPHA)
    if dropout:
        arguments['dropout'] = dropout
    return dict(method=arguments, **norm)
