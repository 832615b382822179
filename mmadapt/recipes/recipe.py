"""Recipes: ways of training the model of any config in less memory, put together of parts.

A recipe's name is its parts, joined by ``+``: ``lora+amp+checkpoint``.
"""

from collections.abc import Collection
from dataclasses import dataclass

from ..errors import UserError
from ..memory.rematerialize import LEVELS
from ..values import check_one_of, nearest

OWN = 'peft'
TUNINGS = ('lora', 'dora', 'ssf', OWN)
STRATEGIES = ('ddp', 'fsdp2', 'zero1', 'zero2', 'zero3')
_OTHERS = ('none', 'config', 'amp', 'checkpoint', 'rematerialize')
# What may be followed by a colon and a name.
_NAMED = _OTHERS[3:]
# A plan does not count on what is made again under these: less than without them.
SHARDING = ('fsdp2', 'zero3')
PARTS = (*_OTHERS, *TUNINGS, *STRATEGIES)
EVERYTHING = ''


@dataclass(frozen=True)
class Recipe:
    """A way of training.

    Args:
        name (str): Its name.
        tuning (str, optional): One of :data:`TUNINGS`, :data:`OWN` being the config's own ``peft``;
            None trains everything.
        amp (bool): Whether in mixed precision. Defaults to False.
        checkpoint (tuple[str]): The parts of the model whose blocks are recomputed in the backward
            pass, such as ``'backbone'``; :data:`EVERYTHING` for all of them. Defaults to none.
        rematerialize (tuple[str]): What is made again in the backward pass beside what is cheap, of
            :data:`~mmadapt.memory.rematerialize.LEVELS`; :data:`EVERYTHING` for what is cheap
            alone. Defaults to none.
        strategy (str, optional): One of :data:`STRATEGIES`; None for the stock runner.
        as_it_is (bool): Whether the config is taken as it is. Defaults to False.
    """

    name: str
    tuning: str | None = None
    amp: bool = False
    checkpoint: tuple[str, ...] = ()
    rematerialize: tuple[str, ...] = ()
    strategy: str | None = None
    as_it_is: bool = False

    @property
    def changes(self) -> int:
        """int: How many things it changes in an ordinary run."""
        return sum(
            map(bool, (self.tuning, self.amp, self.checkpoint, self.rematerialize, self.strategy))
        )


def parse_recipe(name: str) -> Recipe:
    """Read the name of a recipe.

    Args:
        name (str): Such as ``'lora+amp'``.

    Returns:
        Recipe: What it stands for.

    Raises:
        UserError: A part of it is unknown, or two of them contradict each other.
    """
    parts = name.split('+')
    for part in parts:
        kind, colon, _ = part.partition(':')
        if kind not in PARTS or (colon and kind not in _NAMED) or part.endswith(':'):
            raise UserError(
                f'--recipes {name}: {part!r} is no part of a recipe; nearest: '
                f'{nearest(kind, PARTS)}, all: {", ".join(PARTS)}, checkpoint:NAME for the '
                'blocks of one part of the model, such as checkpoint:backbone, and '
                'rematerialize:LEVEL'
            )
        if kind == 'rematerialize' and colon:
            check_one_of(f'--recipes {name}: a level', part.partition(':')[2], tuple(LEVELS))
    kinds = [part for part in parts if part in _OTHERS[:2]]
    if kinds and len(parts) > 1:
        raise UserError(f'--recipes {name}: {kinds[0]!r} stands alone')
    return Recipe(
        name,
        _one_of(name, parts, TUNINGS),
        'amp' in parts,
        _names(parts, 'checkpoint'),
        _names(parts, 'rematerialize'),
        _one_of(name, parts, STRATEGIES),
        'config' in parts,
    )


def default_recipes(processes: int, has_peft: bool = False) -> list[Recipe]:
    """Return the recipes that are compared where none are named.

    Args:
        processes (int): Of a run; what shards something among them needs more than one.
        has_peft (bool): Whether the config says itself what it trains. Defaults to False.
    """
    strategies = [''] if processes == 1 else ['', 'fsdp2+', 'zero2+', 'zero3+']
    # In the order of the time that they take.
    ways = ('', 'rematerialize', 'amp', 'amp+rematerialize', 'checkpoint', 'amp+checkpoint')
    return [
        parse_recipe((strategy + tuning + way).rstrip('+') or 'none')
        for tuning in ([f'{OWN}+'] if has_peft else ['', 'lora+'])
        for strategy in strategies
        for way in ways
        if not (strategy[:-1] in SHARDING and 'rematerialize' in way)
    ]


def _names(parts: list[str], kind: str) -> tuple[str, ...]:
    split = [part.partition(':') for part in parts]
    return tuple(name for found, _, name in split if found == kind)


def _one_of(name: str, parts: list[str], kinds: Collection[str]) -> str | None:
    found = [part for part in parts if part in kinds]
    if len(found) > 1:
        raise UserError(f'--recipes {name}: {" and ".join(found)} exclude each other')
    return found[0] if found else None
