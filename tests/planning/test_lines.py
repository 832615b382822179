"""The lines that a plan prints make of any config the one that was planned."""

import json

import pytest
from mmengine.config import Config
from mmengine.registry import RUNNERS
from planner import DINO

import mmadapt
from mmadapt.cli import set_amp
from mmadapt.commands import plan as plan_command
from mmadapt.config_model import build_model
from mmadapt.memory import MemoryConfig, apply_memory
from mmadapt.memory.checkpointing import is_recomputed
from mmadapt.memory.islands import _Float32Entry
from mmadapt.meters.shapes import ShapesOnly
from mmadapt.planning import demand, lines, plan
from mmadapt.preflight import check_memory_hook, check_peft_hook, check_strategy
from mmadapt.preflight.peft_hook import hook_names
from mmadapt.recipes import changes, strategies
from mmadapt.recipes.recipe import default_recipes, parse_recipe
from mmadapt.recipes.run import Setting

_HOOKS = "custom_hooks = [dict(type='EMAHook'), dict(type='{}')]\n"
_LORA = (
    "peft = dict(method=dict(type='LoRA', r=5, alpha=3, rank_pattern={'encoder': 7}), "
    "exclude=['backbone.patch_embed'])\n"
)
_MEMORY = "memory = dict(checkpoint=['SwinBlock'], every=2, offload=True)\n"
_AMP = "optim_wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16', loss_scale=512.0)\n"
_FSDP2 = (
    "runner_type = 'FlexibleRunner'\n"
    "strategy = dict(type='FSDP2Strategy', reshard_after_forward=False, prefetch=1)\n"
)
_ZERO = (
    "runner_type = 'FlexibleRunner'\nstrategy = dict(type='mmadapt.DeepSpeedStrategy', "
    'zero_optimization=dict(stage=3))\n'
)
# What a config may have of its own, before a recipe changes it.
CONFIGS = dict(
    nothing='peft = None\nmemory = None\n',
    checkpointing='model = dict(backbone=dict(with_cp=True), encoder=dict(num_cp=2))\n'
    "activation_checkpointing = ['neck']\n",
    peft="custom_imports = dict(imports=['mmdet.models', 'mmadapt'])\n"
    + _LORA
    + _HOOKS.format('PEFTInjectHook'),
    memory=_MEMORY + _HOOKS.format('MemoryHook'),
    amp=_AMP,
    zero3=_ZERO,
    everything=_LORA + _MEMORY + _AMP + _FSDP2 + _HOOKS.format('PEFTInjectHook'),
)
RECIPES = [
    'none',
    'config',
    'amp',
    'lora',
    'ssf+amp',
    'checkpoint:backbone',
    'fsdp2+amp+checkpoint',
    'zero2+lora',
]


@pytest.fixture(scope='module')
def stock(tmp_path_factory):
    """Return a file with what of a small DINO matters here, which is read faster than all of it."""
    folder = tmp_path_factory.mktemp('stock')
    (folder / 'dino.py').write_text(DINO)
    cfg = Config.fromfile(folder / 'dino.py')
    cfg.model.backbone.with_cp = False
    Config(
        dict(
            {key: cfg[key] for key in ('model', 'optim_wrapper', 'default_scope')},
            train_dataloader=dict(batch_size=2),
        )
    ).dump(folder / 'flat.py')
    return folder / 'flat.py'


@pytest.fixture(scope='module')
def describe():
    known = {}

    def _describe(cfg):
        key = str((cfg.model, cfg.get('memory')))
        if key not in known:
            known[key] = changes.describe(cfg)
        return known[key]

    return _describe


@pytest.fixture(scope='module')
def count():
    """Return a function that says what a config trains, recomputes and keeps in float32."""
    known = {}

    def _count(cfg):
        keys = {
            key: cfg.get(key) for key in ('model', 'peft', 'memory', 'activation_checkpointing')
        }
        if str(keys) not in known:
            known[str(keys)] = _count_model(cfg)
        return known[str(keys)]

    return _count


def _count_model(cfg):
    with ShapesOnly():
        model = build_model(cfg)
        if cfg.get('peft') is not None:
            mmadapt.inject(model, dict(cfg.peft, allow_random_base=True), keep_base=False)
        memory = MemoryConfig.parse(cfg.get('memory'))
        apply_memory(model, memory, cfg.get('activation_checkpointing') or [])
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return (
        trained,
        sum(p.numel() for p in model.parameters()),
        memory.offload,
        [name for name, m in model.named_modules() if is_recomputed(m)],
        [
            name
            for name, m in model.named_modules()
            if any(isinstance(value, _Float32Entry) for value in vars(m).values())
        ],
    )


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_of_the_printed_lines_trains_what_was_planned(
    name, stock, describe, count, tmp_path
):
    base = tmp_path / 'base.py'
    base.write_text(f'_base_ = {str(stock)!r}\n{CONFIGS[name]}')
    cfg = Config.fromfile(base)
    has_peft = cfg.get('peft') is not None
    for recipe in map(parse_recipe, [*RECIPES, *['peft', 'peft+amp'] * has_peft]):
        model = describe(cfg)
        planned = changes.apply(recipe, cfg, model)
        text = lines.lines_of(changes.written(recipe, cfg, model), Config.fromfile(base))
        child = tmp_path / 'child.py'
        child.write_text(f'_base_ = {str(base)!r}\n{text}\n')
        trained = Config.fromfile(child)
        for check in (check_peft_hook, check_memory_hook, check_strategy):
            check(trained)
        if 'runner_type' in trained:  # which is what tools look at
            assert RUNNERS.get(trained.runner_type), recipe.name
        if ' --amp' in changes.command_of(recipe, 'child.py', 1):
            set_amp(trained)
        assert '_delete_' not in str(trained), recipe.name
        assert count(trained) == count(planned), recipe.name
        assert hook_names(trained) == hook_names(planned), recipe.name
        assert strategies.strategy_of(trained) == strategies.strategy_of(planned), recipe.name
        assert strategies.has_amp(trained) == strategies.has_amp(planned), recipe.name
        assert trained.optim_wrapper == planned.optim_wrapper, recipe.name
        imports = (trained.get('custom_imports') or {}).get('imports', [])
        assert set((cfg.get('custom_imports') or {}).get('imports', [])) <= set(imports)
    if name == 'everything':  # nothing of what the recipe lacks is inherited
        plain = changes.apply(parse_recipe('none'), cfg, model)
        trained, total, _, recomputed, islands = count(plain)
        assert (trained, recomputed, islands) == (total, [], [])
        assert strategies.strategy_of(plain) == (None, {})


def test_what_is_printed_for_a_lora_config_is_measured_as_planned(stock, tmp_path, monkeypatch):
    base, data = tmp_path / 'base.py', tmp_path / 'plan.json'
    base.write_text(f'_base_ = {str(stock)!r}\n{CONFIGS["everything"]}')
    line = [
        '--force',
        '--memory',
        '80GiB',
        '--size',
        '64',
        '96',
        '--batch',
        '1',
        '--json',
        str(data),
    ]

    def planned(config, recipe, *more):
        plan_command.main([str(config), *line, '--recipes', recipe, *more])
        report = json.loads(data.read_text())
        return report['rows'][0], report['recommended']

    row, advice = planned(base, 'ssf+amp', '--cfg-options', 'model.num_queries=10')
    child = tmp_path / 'child.py'
    child.write_text(f'_base_ = {str(base)!r}\n{advice["lines"]}\n')
    assert advice['command'] == 'mmadapt train MY_CONFIG.py --amp'
    cfg = Config.fromfile(child)
    assert cfg.model.num_queries == 10
    assert cfg.train_dataloader.batch_size == 1
    assert cfg.peft.method == dict(type='SSF')
    set_amp(cfg)
    cfg.dump(child)
    again, _ = planned(child, 'config')
    for key in ('saved', 'activation', 'weight', 'gradient', 'optimizer', 'exchange'):
        assert again[f'{key}_bytes'] == row[f'{key}_bytes'], key


def test_what_is_no_identifier_or_a_tuple_is_written_as_python(tmp_path):
    before = Config(dict(a=dict(b=1, c=2), hooks=[1], gone=dict(x=1), none=None))
    after = dict(a={'b.c': (1,), 'lambda': dict(d=[None, 'x'])}, hooks=[1], none=dict(y=2))
    (tmp_path / 'base.py').write_text(
        'a = dict(b=1, c=2)\nhooks = [1]\ngone = dict(x=1)\nnone = None\n'
    )
    (tmp_path / 'child.py').write_text(
        f'_base_ = {str(tmp_path / "base.py")!r}\n{lines.lines_of(after, before)}\n'
    )
    child = Config.fromfile(tmp_path / 'child.py')
    assert child.to_dict() == dict(after, gone=None)


def test_a_config_with_peft_is_planned_with_it_by_default(stock, tmp_path):
    names = [recipe.name for recipe in default_recipes(1, has_peft=True)]
    ways = ['', '+rematerialize', '+amp', '+amp+rematerialize', '+checkpoint', '+amp+checkpoint']
    assert names == [f'peft{way}' for way in ways]
    eight = default_recipes(8, has_peft=True)
    assert all(r.tuning == 'peft' for r in eight)
    remade = {r.strategy for r in eight if r.rematerialize}
    assert remade == {None, 'zero2'}
    base = tmp_path / 'base.py'
    base.write_text(f'_base_ = {str(stock)!r}\n{CONFIGS["peft"]}')
    cfg = Config.fromfile(base)
    model = changes.describe(cfg)
    setting = Setting(str(base), {}, (64, 96), cfg.train_dataloader.batch_size, 1, 1, 1, 'cpu')
    offered = [dict(recipe='peft', fits=True, changes=0, tuning='peft')]
    advice = plan.advice(
        offered, default_recipes(1, True), cfg, model, setting, Config.fromfile(base)
    )
    # It is what the config says already.
    assert advice == dict(recipe='peft', lines='', command=f'mmadapt train {base}')
    with pytest.raises(mmadapt.UserError, match='--recipes peft: the config has no `peft`'):
        changes.keys_of(parse_recipe('peft'), Config.fromfile(stock), model)


def test_what_the_config_trains_already_changes_least():
    offered = [
        dict(recipe='peft+amp', fits=True, changes=2, tuning='peft'),
        dict(recipe='peft', fits=True, changes=1, tuning='peft'),
    ]
    assert demand.recommend(offered)['recipe'] == 'peft'
