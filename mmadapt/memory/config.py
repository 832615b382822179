"""The `memory` key of a config: its names, defaults and errors."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Union

from ..errors import UserError
from ..values import check_count, check_flag, check_keys, check_list, check_one_of
from .families import AUTO
from .matching import PATTERNS
from .rematerialize.levels import LEVELS


@dataclass
class MemoryConfig:
    """What is given up so that training needs less memory.

    Args:
        checkpoint (list[str]): Blocks whose activations are recomputed in the backward pass, by
            class name, by name, or by a regular expression of full names
            (:func:`~mmadapt.memory.matching.find_modules`). Those that the model's own ``with_cp``,
            ``num_cp`` or the config's ``activation_checkpointing`` ask for are in any case.
            Defaults to none.
        every (int): Only every n-th block of ``checkpoint`` within each list of blocks, from the
            first on. Defaults to 1.
        offload (bool): Whether what is kept of a recomputed block, its inputs, waits for the
            backward pass in the memory of the CPU. Defaults to False.
        fp32_modules (list[str] or str): Modules that compute in float32 under autocast; the same
            grammar, or ``'auto'``: what this model needs
            (:func:`~mmadapt.memory.families.find_islands`). Defaults to none.
        rematerialize (bool or list[str]): Whether what is cheap to make again from what is kept
            anyway is made again in the backward pass; a list of further
            :data:`~mmadapt.memory.rematerialize.levels.LEVELS` makes these again too. Defaults to
            False.
    """

    checkpoint: list = field(default_factory=list)
    every: int = 1
    offload: bool = False
    fp32_modules: list | str = field(default_factory=list)
    rematerialize: bool | list = False

    @classmethod
    def parse(cls, cfg: Union[Mapping, 'MemoryConfig', None]) -> 'MemoryConfig':
        """Read and check the value of ``memory``.

        Args:
            cfg (dict or MemoryConfig, optional): The value; None, as of a config without it, asks
                for nothing.

        Returns:
            MemoryConfig: What it asks for.

        Raises:
            UserError: A key is unknown or a value is not one of those allowed.
        """
        if isinstance(cfg, MemoryConfig):
            cfg._check()
            return cfg
        if cfg is None:
            return cls()
        check_keys('memory', cfg, [f.name for f in fields(cls)])
        parsed = cls(**cfg)
        parsed._check()
        return parsed

    def _check(self) -> None:
        self.checkpoint = _patterns('memory.checkpoint', self.checkpoint)
        if self.fp32_modules != AUTO:
            self.fp32_modules = _patterns('memory.fp32_modules', self.fp32_modules)
        if self.rematerialize is not True and self.rematerialize is not False:
            self.rematerialize = _levels(self.rematerialize)
        check_flag('memory.offload', self.offload)
        check_count('memory.every', self.every)
        if self.every > 1 and not self.checkpoint:
            raise UserError(
                f'memory.every={self.every} chooses among the blocks that '
                'memory.checkpoint names, and it names none'
            )


def _levels(value) -> list[str]:
    where = 'memory.rematerialize'
    names = [value] if isinstance(value, str) else value
    check_list(where, names, (str,), f'levels ({", ".join(LEVELS)}), True or False')
    for name in names:
        check_one_of(f'{where}: a level', name, tuple(LEVELS))
    return list(names)


def _patterns(where: str, value) -> list[str]:
    patterns = [value] if isinstance(value, str) else value
    check_list(where, patterns, (str,), PATTERNS)
    return list(patterns)
