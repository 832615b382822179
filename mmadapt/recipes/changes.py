"""What a recipe does to a config: said once, measured, and shown to whoever takes the recipe."""

import copy
from dataclasses import dataclass, field

from mmengine.config import Config, ConfigDict
from torch import nn

from ..cli import set_amp
from ..config_files import base
from ..config_model import build_model
from ..errors import UserError
from ..memory import AUTO, MemoryConfig
from ..memory.rematerialize import LEVELS, levels_of
from ..meters.shapes import ShapesOnly
from ..preflight.peft_hook import hook_names
from ..strategies.fsdp2.units import repeated_blocks
from ..values import nearest
from .images import drop_downloads
from .recipe import EVERYTHING, OWN, TUNINGS, Recipe
from .strategies import has_autocast

_HOOKS = dict(peft='PEFTInjectHook', memory='MemoryHook')


@dataclass
class Model:
    """What recipes have to know of a model.

    Args:
        blocks (dict[str, list[str]]): By part of the model, such as ``'encoder'``, what
            ``memory.checkpoint`` calls its repeated blocks; all of them under
            :data:`~mmadapt.recipes.recipe.EVERYTHING`.
        islands (list[str] or str): What computes in float32 under autocast, as
            ``memory.fp32_modules`` says it.
        levels (list[str]): What can be made again beside what is cheap.
        remade (list[str]): What of it the config itself makes again.
    """

    blocks: dict = field(default_factory=dict)
    islands: list | str = AUTO
    levels: list = field(default_factory=list)
    remade: list = field(default_factory=list)


def describe(cfg: Config) -> Model:
    """Find out what recipes have to know of a config's model; what it says itself comes first."""
    cfg, own = copy.deepcopy(cfg), cfg.get('memory') or {}
    drop_downloads(cfg.model)
    with ShapesOnly():
        model = build_model(cfg)
    # One layer, perhaps with its norm, keeps its input and little else.
    blocks = [
        block
        for block in repeated_blocks(model)
        if sum(p.dim() > 1 for p in block.parameters()) > 1
    ]
    names = {name: module for name, module in model.named_modules() if module in blocks}
    parts = dict.fromkeys([EVERYTHING, *(name.partition('.')[0] for name in names)])
    found = {
        part: _patterns(
            model, {name: module for name, module in names.items() if name.startswith(part)}
        )
        for part in parts
    }
    if own.get('checkpoint'):
        found[EVERYTHING] = list(own['checkpoint'])
    remade = MemoryConfig.parse(own).rematerialize
    return Model(
        found,
        own.get('fp32_modules', AUTO),
        levels_of(model),
        remade if isinstance(remade, list) else [],
    )


def apply(recipe: Recipe, cfg: Config, model: Model) -> Config:
    """Return a copy of a config that trains by a recipe, and by nothing else of its kind.

    Args:
        recipe (Recipe): The recipe.
        cfg (Config): The config.
        model (Model): Its model.

    Raises:
        UserError: The recipe means nothing for this model.
    """
    cfg = written(recipe, cfg, model)
    if recipe.amp:
        set_amp(cfg)
    return cfg


def written(recipe: Recipe, cfg: Config, model: Model) -> Config:
    """Return a copy of a config that trains by a recipe once its command does: with ``--amp``.

    Args:
        recipe (Recipe): The recipe.
        cfg (Config): The config.
        model (Model): Its model.

    Raises:
        UserError: The recipe means nothing for this model.
    """
    keys = {} if recipe.as_it_is else keys_of(recipe, cfg, model)
    cfg = copy.deepcopy(cfg)
    if recipe.as_it_is:
        return cfg
    _strip(cfg)
    for key, value in keys.items():
        cfg[key] = value
    cfg.custom_hooks = [
        *cfg.get('custom_hooks', []),
        *(dict(type=hook) for key, hook in _HOOKS.items() if key in keys),
    ]
    if keys:
        imports = list((cfg.get('custom_imports') or {}).get('imports') or [])
        if 'mmadapt' not in imports:
            cfg.custom_imports = dict(imports=[*imports, 'mmadapt'], allow_failed_imports=False)
    return cfg


def _peft_of(tuning: str, cfg: Config) -> ConfigDict:
    own = cfg.get('peft') or {}
    if tuning == OWN or str((own.get('method') or {}).get('type', '')).lower() == tuning:
        if not own:
            raise UserError(
                f'--recipes {OWN}: the config has no `peft`; name one of '
                f'{", ".join(t for t in TUNINGS if t != OWN)}'
            )
        return own
    peft = _read(f'peft/{tuning}').peft
    if 'dropout' in peft.method:
        peft.method.dropout = 0.0  # what is dropped has to be computed apart
    return peft


def keys_of(recipe: Recipe, cfg: Config, model: Model) -> dict:
    """Return the top-level keys of a config that a recipe consists of.

    Args:
        recipe (Recipe): The recipe.
        cfg (Config): The config that it changes.
        model (Model): What its model is made of.

    Raises:
        UserError: A part of the model has no blocks to recompute, or the model no such level.
    """
    keys: dict = {}
    memory: dict = {}
    if recipe.tuning:
        keys['peft'] = _peft_of(recipe.tuning, cfg)
    if recipe.checkpoint:
        memory['checkpoint'] = [
            pattern for part in recipe.checkpoint for pattern in _blocks_of(part, model)
        ]
    if recipe.rematerialize:
        memory['rematerialize'] = _levels_of(recipe, model) or True
    if recipe.amp:
        memory['fp32_modules'] = model.islands
    if memory:
        keys['memory'] = memory
    if recipe.strategy:
        keys['runner_type'] = 'FlexibleRunner'
        keys['strategy'] = _strategy(recipe.strategy, recipe.amp)
    return keys


def command_of(recipe: Recipe, config: str, processes: int) -> str:
    """Return the command that trains by a recipe."""
    launch = f'launch {processes} ' if processes > 1 else ''
    return f'mmadapt {launch}train {config}' + ' --amp' * recipe.amp


def _patterns(model: nn.Module, blocks: dict[str, nn.Module]) -> list[str]:
    """Return the classes of blocks; their names where a module elsewhere is of such a class."""
    inside = {module for block in blocks.values() for module in block.modules()}
    classes = dict.fromkeys(type(block).__name__ for block in blocks.values())
    elsewhere = {
        cls.__name__
        for module in model.modules()
        if module not in inside
        for cls in type(module).__mro__
    }
    return list(classes) if elsewhere.isdisjoint(classes) else list(blocks)


def _blocks_of(part: str, model: Model) -> list[str]:
    if model.blocks.get(part):
        return model.blocks[part]
    if part == EVERYTHING:
        raise UserError(
            '--recipes checkpoint: this model is no repetition of blocks; name in the '
            'config what to recompute: memory = dict(checkpoint=[...])'
        )
    parts = [name for name in model.blocks if name]
    raise UserError(
        f'--recipes checkpoint:{part}: {part!r} has no repeated blocks'
        + (f'; nearest: {nearest(part, parts)}, all: {parts}' if parts else '')
    )


def _levels_of(recipe: Recipe, model: Model) -> list[str]:
    levels = [level for level in recipe.rematerialize if level] or model.remade
    for level in levels:
        if level not in model.levels:
            raise UserError(
                f'--recipes rematerialize:{level}: this model has none of {LEVELS[level]}; it has '
                f'{", ".join(model.levels)}'
            )
    return levels


def _strategy(name: str, amp: bool) -> dict:
    file = name.replace('zero', 'deepspeed_zero')
    strategy = _read(f'strategies/{file}').strategy
    if file != name and not amp:
        strategy.torch_autocast = dict(enabled=False)
    return strategy


def _read(name: str) -> Config:
    return Config.fromfile(base(f'{name}.py'))


def _strip(cfg: Config) -> None:
    """Take out of a config what it says itself of memory, adapters and strategies."""
    for key in ('memory', 'peft', 'strategy', 'runner_type', 'activation_checkpointing'):
        cfg.pop(key, None)
    cfg.custom_hooks = [
        hook
        for hook in cfg.get('custom_hooks') or []
        if hook_names(dict(custom_hooks=[hook]))[0] not in _HOOKS.values()
    ]
    wrapper = cfg.optim_wrapper
    if has_autocast(cfg):
        wrapper.type = 'OptimWrapper'
        for key in ('dtype', 'loss_scale'):
            wrapper.pop(key, None)
    _switch_off(cfg.model)


def _switch_off(node) -> None:
    if isinstance(node, dict):
        for key, off in (('with_cp', False), ('num_cp', -1)):
            if key in node:
                node[key] = off
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for item in node:
            _switch_off(item)
