"""Recipes, steps followed on shapes, the arithmetic of a plan, and a measured table."""

import copy
import json
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import MMLogger
from planner import DINO, SETTING, prepared
from torch import nn

import mmadapt
from mmadapt import UserError
from mmadapt.commands import measure as measure_command
from mmadapt.commands import plan as plan_command
from mmadapt.measuring import rows
from mmadapt.memory.rematerialize import saving
from mmadapt.meters import like_cuda, tally
from mmadapt.meters.shapes import ShapesOnly
from mmadapt.planning import demand, needs, plan, tables
from mmadapt.recipes import changes, strategies
from mmadapt.recipes.recipe import parse_recipe
from mmadapt.recipes.run import Setting

# Takes more than there is in the rows whose recipe says so.
GREEDY = """
import os, signal
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module(force=True)
class Greedy(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.cfg.optim_wrapper.type == 'AutocastOptimWrapper':
            torch.empty(2**55)
        if runner.cfg.get('peft') is not None:
            os.kill(os.getpid(), signal.SIGKILL)
"""
GIB = 2**30


@pytest.fixture(scope='module', autouse=True)
def _logger():
    """Give other tests the logger back that the tool silences."""
    yield
    MMLogger._instance_dict.pop('memory', None)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'dino.py'
    path.write_text(DINO)
    return str(path)


@pytest.fixture(scope='module')
def model(config):
    """What recipes have to know of the model."""
    return changes.describe(Config.fromfile(config))


# Recipes.


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('amp+chekpoint', "'chekpoint' is no part of a recipe; nearest: 'checkpoint'"),
        ('amp:backbone', "'amp:backbone' is no part of a recipe"),
        ('none+amp', "'none' stands alone"),
        ('rematerialize:rio', "a level='rio' is not one of .*; nearest: 'roi'"),
        ('fsdp2+zero2', 'fsdp2 and zero2 exclude each other'),
    ],
)
def test_a_wrong_recipe_is_refused_and_the_nearest_is_named(name, message):
    with pytest.raises(UserError, match=message):
        parse_recipe(name)


def test_blocks_and_islands_of_a_dino_are_found(model):
    encoder, decoder = (f'DeformableDetrTransformer{part}coderLayer' for part in ('En', 'De'))
    assert model.blocks == {
        '': ['SwinBlock', encoder, decoder],
        'backbone': ['SwinBlock'],
        'encoder': [encoder],
        'decoder': [decoder],
    }
    assert model.islands == 'auto'
    with pytest.raises(UserError, match="'neck' has no repeated blocks; nearest: 'encoder'"):
        changes.keys_of(
            parse_recipe('checkpoint:neck'), Config.fromfile(mmadapt.base('peft/lora.py')), model
        )


def test_none_takes_out_what_the_config_says_and_config_leaves_it(config, model):
    # The stock config has with_cp=True.
    assert prepared('config', config, model).model.backbone.with_cp
    none = prepared('none', config, model)
    assert not none.model.backbone.with_cp
    assert 'memory' not in none
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(
        dict(
            peft=dict(method=dict(type='LoRA', r=5)),
            memory=dict(checkpoint=['FFN']),
            custom_hooks=[dict(type='PEFTInjectHook'), dict(type='MemoryHook')],
            optim_wrapper=dict(type='AmpOptimWrapper', dtype='bfloat16'),
        )
    )
    plain = changes.apply(parse_recipe('none'), cfg, model)
    assert plain.custom_hooks == []
    assert plain.optim_wrapper.type == 'OptimWrapper'
    adapted = changes.apply(parse_recipe('lora+amp'), cfg, model)
    assert adapted.peft.method.r == 5
    assert adapted.optim_wrapper.type == 'AutocastOptimWrapper'
    assert adapted.memory == dict(fp32_modules=model.islands)
    assert changes.describe(cfg).blocks[''] == ['FFN']


def test_lora_has_no_dropout_whose_masks_would_be_kept_unless_the_config_has_it(config, model):
    assert prepared('lora', config, model).peft.method == dict(
        Config.fromfile(mmadapt.base('peft/lora.py')).peft.method, dropout=0.0
    )
    cfg = Config.fromfile(config)
    cfg.peft = dict(method=dict(type='LoRA', r=5, dropout=0.1))
    assert changes.keys_of(parse_recipe('lora'), cfg, model)['peft'].method.dropout == 0.1


def test_what_is_made_again_becomes_the_key_of_the_config(config, model):
    cfg = Config.fromfile(config)
    for name, wanted in (
        ('rematerialize', True),
        ('rematerialize:softmax', ['softmax']),
        ('rematerialize+rematerialize:softmax+lora', ['softmax']),
    ):
        keys = changes.keys_of(parse_recipe(name), cfg, model)
        assert keys['memory'] == dict(rematerialize=wanted)
    assert 'memory' not in changes.keys_of(parse_recipe('lora'), cfg, model)
    with pytest.raises(UserError, match='rematerialize:roi: this model has none of the features'):
        changes.keys_of(parse_recipe('rematerialize:roi'), cfg, model)


def test_without_amp_deepspeed_computes_in_float32(config, model):
    for name, amp in (('zero2', False), ('zero2+amp', True)):
        cfg = prepared(name, config, model)
        assert strategies.has_amp(cfg) is amp
        assert strategies.strategy_of(cfg)[0] == 'zero2'


# What is measured.


def test_bytes_are_those_of_local_parts_each_storage_once():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    assert tally.gradient_bytes(model, optimizer) == 64
    optimizer.step()
    assert tally.parameter_bytes(model) == 64
    assert tally.optimizer_bytes(model, optimizer) == 2 * 64 + 4


def test_a_gathered_weight_is_no_activation():
    layer = nn.Linear(6, 6, bias=False)
    x = torch.randn(3, 6, requires_grad=True)
    with tally.SavedActivations(layer) as saved:
        layer.weight = nn.Parameter(layer.weight.detach().clone())
        kept = layer(x)
        assert saved.bytes() == x.nbytes
    del kept


def test_a_step_on_shapes_keeps_and_holds_what_a_computed_one_does(config, model, monkeypatch):
    monkeypatch.setattr(saving, 'SMALL', 2**12)  # as the model is
    saved = {}
    for name in ('none', 'checkpoint', 'rematerialize'):
        cfg = prepared(name, config, model)
        followed = needs.measure(copy.deepcopy(cfg))
        with monkeypatch.context() as patch:
            patch.setattr(needs, 'ShapesOnly', lambda: ShapesOnly(large=2**60))
            patch.setattr(needs, '_COUNTERS', 2**60)
            computed = needs.measure(copy.deepcopy(cfg))
        assert followed.saved == computed.saved
        saved[name] = followed.saved
        assert followed.activations == pytest.approx(computed.activations, rel=0.01)
        assert (followed.optimizer, followed.step) == (computed.optimizer, computed.step)
    assert followed.saved < followed.activations
    assert saved['rematerialize'] < 0.9 * saved['none']


def test_nothing_large_is_computed_and_all_of_it_is_counted():
    shapes = ShapesOnly()
    with shapes:
        x = torch.ones(2**18)  # 1 MiB
        assert not x.any()
        y = x.exp()
        assert (shapes.live, shapes.peak) == (2 * 2**20, 2 * 2**20)
        del x
        small = y.sum() + 3
    assert (shapes.live, shapes.peak) == (2**20 + 4, 2 * 2**20)
    assert small == 3


def test_amp_dropout_and_deformable_attention_keep_what_they_keep_on_a_gpu():
    def kept(function, *inputs):
        with tally.SavedActivations(nn.Identity()) as saved:
            output = function(*inputs)
            result = saved.bytes()
        del output
        return result

    x = torch.randn(8, 32, requires_grad=True)
    half = x.detach().bfloat16().requires_grad_()
    with like_cuda.like_cuda(), torch.autocast('cpu', torch.bfloat16):
        assert F.softmax(half, -1).dtype == torch.float32
        assert (half + 1).dtype == torch.bfloat16
        assert kept(lambda t: F.dropout(t, 0.5), x) == x.numel()  # a byte an element
    from mmcv.ops import multi_scale_deform_attn as attention

    value, weights = torch.randn(1, 20, 2, 8, requires_grad=True), torch.rand(1, 5, 2, 1, 4)
    arguments = value, torch.tensor([[4, 5]]), torch.rand(1, 5, 2, 1, 4, 2), weights
    with like_cuda.like_cuda():
        assert kept(attention.multi_scale_deformable_attn_pytorch, *arguments) == sum(
            t.nbytes for t in arguments
        )
    output = attention.multi_scale_deformable_attn_pytorch(*arguments)
    assert output.abs().sum() > 0  # as before


# A plan.


NEEDS = needs.Needs(
    parameters=800,
    whole=0,
    average=0,
    trained=400,
    groups=((100,) * 4,),
    optimizer=1600,
    saved=9000,
    activations=10_000,
    step=400,
    largest=60,
    rest=100,
)


def settings_of(kind, **given):
    """Return what a plan knows of a strategy that is told this."""
    strategy = dict(type='mmadapt.DDPStrategy')
    if kind == 'fsdp2':
        strategy = dict(type='FSDP2Strategy', **given)
    elif kind != 'ddp':
        strategy = dict(
            type='mmadapt.DeepSpeedStrategy', zero_optimization=dict(stage=int(kind[-1]), **given)
        )
    return strategies.strategy_of(Config(dict(runner_type='FlexibleRunner', strategy=strategy)))


@pytest.mark.parametrize(
    ('kind', 'given', 'n', 'wanted'),
    [
        # weights, gradients, optimizer, exchange
        ('ddp', {}, 1, (800, 400, 1600, 0)),
        ('ddp', {}, 4, (800, 400, 1600, 400)),
        # 100 + 2 x 60 gathered, and half of it is trained
        ('fsdp2', {}, 4, (200, 100, 400, 220 + 110)),
        ('fsdp2', dict(replicate=2), 4, (400, 200, 800, 220 + 110)),
        ('fsdp2', dict(prefetch=1), 4, (200, 100, 400, 280 + 140)),
        ('fsdp2', dict(reshard_after_forward=False), 4, (200, 100, 400, 800 + 110)),
        ('fsdp2', dict(reshard_after_forward=2), 4, (200, 100, 400, 220 + 400 + 110)),
        ('zero1', dict(reduce_bucket_size=10), 4, (800, 400, 400 + 100, 40)),
        ('zero2', dict(reduce_bucket_size=10), 4, (800, 100, 400 + 100, 40)),
        ('zero2', dict(reduce_bucket_size=10, overlap_comm=True), 4, (800, 100, 500, 80)),
        ('zero3', dict(reduce_bucket_size=10), 4, (200, 100, 400, 800 + 40)),
        (
            'zero3',
            dict(reduce_bucket_size=10, stage3_max_reuse_distance=0, stage3_prefetch_bucket_size=5),
            4,
            (200, 100, 400, 4 * 5 + 60 + 40),
        ),
    ],
)
def test_what_a_process_needs_follows_the_formulas(kind, given, n, wanted):
    asked = demand.demand(NEEDS, *settings_of(kind, **given), n)
    assert (asked.weights, asked.gradients, asked.optimizer, asked.exchange) == wanted
    assert asked.activations == 10_000
    assert asked.total == sum(wanted) + 10_000
    assert asked.margin == GIB + 2000


def test_without_a_strategy_several_processes_are_ddp():
    assert demand.demand(NEEDS, None, {}, 4) == demand.demand(NEEDS, 'ddp', {}, 4)


@pytest.mark.parametrize(
    ('groups', 'wanted'),
    [
        (((400,),), 400),
        (((100,),) * 4, 400),
        (((150, 150, 100),), 300),
        (((1,), (399,)), 400),
    ],
)
def test_zero2_keeps_the_gradients_of_parameters_of_which_it_has_a_part(groups, wanted):
    sharded = needs.Needs(**dict(asdict(NEEDS), groups=groups))
    assert demand.demand(sharded, *settings_of('zero2'), 4).gradients == wanted


def test_an_average_and_what_is_never_sharded_count_too():
    more = needs.Needs(**dict(asdict(NEEDS), average=800, whole=40))
    assert demand.demand(more, 'ddp', {}, 4).weights == 1600
    assert demand.demand(more, *settings_of('fsdp2'), 4).weights == 2 * (40 + 760 // 4)


def test_a_step_of_the_optimizer_counts_where_it_holds_more_than_activations():
    few = needs.Needs(**dict(asdict(NEEDS), activations=10))
    assert demand.demand(few, None, {}, 1).activations == 400
    assert demand.demand(few, *settings_of('fsdp2'), 4).activations == 100


def test_the_recipe_that_fits_and_changes_least_is_recommended_and_another_tuning_last():
    def offer(recipe, changes, fits=True, tuning=None):
        return dict(recipe=recipe, changes=changes, fits=fits, tuning=tuning)

    offered = [
        offer('none', 0, fits=False),
        offer('lora', 1, tuning='lora'),
        offer('a+b', 2),
        offer('c', 1),
        offer('d', 1),
    ]
    assert demand.recommend(offered)['recipe'] == 'c'
    assert demand.recommend(offered[:3])['recipe'] == 'a+b'
    assert demand.recommend(offered[:2])['recipe'] == 'lora'
    assert demand.recommend(offered[:1]) is None
    assert plan.advice(offered[:1], [], Config(), changes.Model(), SETTING, Config()) is None


@pytest.mark.parametrize(
    ('strategy', 'message'),
    [
        (
            dict(type='mmadapt.DeepSpeedStrategy', zero_optimization=dict(overlap_comm=True)),
            r'stage=None is not one of \[1, 2, 3\]',
        ),
        (dict(type='FSDPStrategy'), "nothing is known of what it shards; known are 'mmadapt.DDP"),
        (dict(type='FSDP2Strategy', shards=['SwinBlock']), "nearest: 'shard'"),
        (dict(type='FSDP2Strategy', replicate=3), r'replicate=3: the 8 .* into \[1, 2, 4, 8\]'),
        (dict(type='FSDP2Strategy', reshard_after_forward=3), r'in groups of \[2, 4\]'),
    ],
)
def test_a_wrong_strategy_of_the_config_is_refused_before_anything_is_measured(strategy, message):
    cfg = Config(dict(runner_type='FlexibleRunner', strategy=strategy))
    with pytest.raises(UserError, match=message):
        strategies.why_not(cfg, 8)


def test_settings_of_deepspeed_are_read_from_a_file_too(tmp_path):
    file = tmp_path / 'zero.json'
    file.write_text('{"zero_optimization": {"stage": 1, "reduce_bucket_size": 2e8}}')
    cfg = Config(
        dict(
            runner_type='FlexibleRunner',
            optim_wrapper=dict(type='OptimWrapper'),
            strategy=dict(type='mmadapt.DeepSpeedStrategy', config=str(file)),
        )
    )
    kind, settings = strategies.strategy_of(cfg)
    assert kind == 'zero1'
    assert settings['zero_optimization']['reduce_bucket_size'] == 200_000_000
    assert strategies.has_amp(cfg)


def test_a_plan_of_the_config_as_it_is_follows_the_blocks_that_its_strategy_names(config, model):
    found = []
    for shard in (None, ['SwinBlock']):
        options = dict(
            runner_type='FlexibleRunner',
            strategy=dict(type='FSDP2Strategy', shard=shard, replicate=2),
        )
        setting = Setting(**dict(asdict(SETTING), config=config, options=options, processes=4))
        found += plan.plan_rows([parse_recipe('config')], setting, model, GIB, print)
    usual, fewer = found
    # Encoder and decoder are gathered with the rest now.
    assert fewer['exchange_bytes'] > usual['exchange_bytes']
    assert fewer['weight_bytes'] == usual['weight_bytes'] > 2 * usual['gradient_bytes'] * 0.49


def test_amounts_of_memory_are_read_and_others_refused():
    assert demand.parse_memory('24GiB') == demand.parse_memory('24 gib') == 24 * GIB
    assert demand.parse_memory('1.5GB') == 1_500_000_000
    for text in ('24 gigs', '24', 'GiB', '-3GiB', '0GiB'):
        with pytest.raises(UserError, match=f'--memory {text}: not an amount of memory'):
            demand.parse_memory(text)


def test_a_plan_recommends_lines_that_a_config_can_hold(config, tmp_path, monkeypatch):
    averaged = tmp_path / 'averaged.py'
    averaged.write_text(f"_base_ = {config!r}\ncustom_hooks = [dict(type='EMAHook')]\n")
    known, measure = {}, plan.measure

    def measure_once(cfg):
        key = str(cfg)
        if key not in known:
            known[key] = measure(cfg)
        return known[key]

    monkeypatch.setattr(plan, 'measure', measure_once)
    out, data = tmp_path / 'plan.md', tmp_path / 'plan.json'
    line = [
        str(averaged),
        '--force',
        '--size',
        '64',
        '96',
        '--batch',
        '1',
        '--processes',
        '2',
        '--recipes',
        'none',
        'amp+checkpoint',
        'zero2+lora',
        'zero3',
        '--json',
        str(data),
        '--out',
        str(out),
    ]
    plan_command.main([*line, '--memory', '8GiB'])
    report = json.loads(data.read_text())
    none, less, zero, refused = report['rows']
    assert [r['recipe'] for r in report['rows']] == [
        'none',
        'amp+checkpoint',
        'zero2+lora',
        'zero3',
    ]
    assert less['saved_bytes'] < none['saved_bytes']
    assert zero['weight_bytes'] > none['weight_bytes'] > zero['gradient_bytes']
    assert none['weight_bytes'] >= 2 * none['gradient_bytes']  # EMAHook's copy
    assert none['gradient_bytes'] == none['exchange_bytes']
    # Two moments of each, and a step of 4 bytes for every tensor.
    assert none['optimizer_bytes'] == pytest.approx(2 * none['gradient_bytes'], rel=1e-4)
    assert [r['fits'] for r in report['rows']] == [True, True, True, False]
    assert f'* zero3: refused, whatever fits: {refused["reason"]}' in out.read_text()
    assert report['recommended']['recipe'] == 'none'
    assert '| none |' in out.read_text()
    between = (
        less['total_bytes'] + less['margin_bytes'] + none['total_bytes'] + none['margin_bytes']
    ) // 2
    plan_command.main([*line, '--memory', f'{between / 2**20}MiB'])
    report = json.loads(data.read_text())
    assert [r['fits'] for r in report['rows']][:2] == [False, True]
    best = report['recommended']
    assert best['command'] == 'mmadapt launch 2 train MY_CONFIG.py --amp'
    child = tmp_path / 'child.py'
    child.write_text(f'_base_ = {str(averaged)!r}\n{best["lines"]}\n')
    child = Config.fromfile(child)
    assert child.memory.checkpoint[0] == 'SwinBlock'
    assert child.custom_hooks == [dict(type='EMAHook'), dict(type='MemoryHook')]
    tables.write_plan(dict(report, recommended=None), out)
    assert 'No recipe fits' in out.read_text()


# A table.


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--size', '0', '96'], '--size must be an integer of at least 32, got 0'),
        (['--processes', '0'], '--processes must be an integer of at least 1'),
        (['--iterations', '0'], '--iterations must be an integer of at least 1'),
        (['--recipes', 'nome'], "nearest: 'none'"),
    ],
)
def test_wrong_arguments_are_refused_in_a_line(config, arguments, message):
    with pytest.raises(UserError, match=message):
        measure_command.main([config, '--recipes', 'none', *arguments])


def test_a_plan_needs_an_amount_of_memory_and_a_measurement_recipes(config):
    with pytest.raises(UserError, match='not an amount of memory'):
        plan_command.main([config, '--memory', '24 gigs'])
    for command, missing in ((plan_command, '--memory'), (measure_command, '--recipes')):
        with pytest.raises(UserError, match=f'the following arguments are required: {missing}'):
            command.main([config])


def test_logs_of_another_measurement_stay(config, tmp_path):
    (tmp_path / 'logs' / '01').mkdir(parents=True)
    words = [config, '--recipes', 'none', '--logs', str(tmp_path / 'logs')]
    with pytest.raises(UserError, match='there is something in it; name a new folder'):
        measure_command.main(words)


def test_files_that_are_there_are_not_overwritten_without_force(config, tmp_path):
    out = tmp_path / 'plan.md'
    out.write_text('mine')
    with pytest.raises(UserError, match='plan.md is there; --force overwrites it'):
        plan_command.main([config, '--memory', '8GiB', '--out', str(out)])
    assert out.read_text() == 'mine'


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            'model = dict(type="DINO")\noptim_wrapper = dict(type="OptimWrapper")',
            'there is no train_dataloader, so that nothing can be trained',
        ),
        ('train_dataloader = dict(batch_size=1)', 'there is no model'),
        (
            'model = train_dataloader = optim_wrapper = dict(type="A")',
            'train_dataloader has no batch_size; say with --batch',
        ),
    ],
)
def test_a_config_of_which_nothing_can_be_trained_is_refused_in_a_line(tmp_path, content, message):
    path = tmp_path / 'config.py'
    path.write_text(content)
    with pytest.raises(UserError, match=f'config.py: {message}'):
        measure_command.main([str(path), '--recipes', 'none'])


def test_a_table_goes_on_after_a_row_that_runs_out_of_memory(config, tmp_path, monkeypatch):
    (tmp_path / 'greedy.py').write_text(GREEDY)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    greedy = tmp_path / 'greedy_dino.py'
    greedy.write_text(
        f"_base_ = {config!r}\ncustom_imports = dict(imports=['greedy'])\n"
        "custom_hooks = [dict(type='Greedy')]\n"
    )
    out, data = tmp_path / 'table.md', tmp_path / 'table.json'
    measure_command.main(
        [
            str(greedy),
            '--recipes',
            'none',
            'amp',
            'lora',
            'checkpoint',
            '--size',
            '64',
            '96',
            '--batch',
            '1',
            '--iterations',
            '2',
            '--warm-up',
            '1',
            '--device',
            'cpu',
            '--threads',
            '1',
            '--out',
            str(out),
            '--json',
            str(data),
        ]
    )
    report = json.loads(data.read_text())
    none, amp, lora, checkpoint = report['rows']
    assert report['complete']
    assert (amp['status'], lora['status']) == ('out of memory', 'out of memory')
    assert "can't allocate memory" in amp['reason']
    assert 'killed by signal 9' in lora['reason']
    for measured in (none, checkpoint):
        assert measured['status'] == ''
        assert measured['loss_is_finite']
        assert measured['iterations'] == len(measured['seconds']) == 2
        assert measured['iteration_s'] > 0
        assert measured['parameter_bytes'] >= 4 * measured['parameters']
        assert measured['gradient_bytes'] >= 4 * measured['trainable'] * 0.99
        assert measured['optimizer_bytes'] == pytest.approx(
            2 * measured['gradient_bytes'], rel=0.01
        )
    assert checkpoint['saved_bytes'] < 0.4 * none['saved_bytes']
    lines = [line for line in out.read_text().splitlines() if line.startswith('| ')]
    assert [line.split(' |')[0] for line in lines] == [
        '| recipe',
        '| none',
        '| amp',
        '| lora',
        '| checkpoint',
    ]
    assert 'out of memory' in lines[2]
    heads = ('saved for backward', 'iteration s', 'weights', 'optimizer')
    assert all(head in lines[0] for head in heads)
    assert ('peak of a GPU MiB' in lines[0]) == torch.cuda.is_available()


def test_two_processes_of_fsdp2_hold_what_the_plan_says(config, tmp_path):
    data = tmp_path / 'table.json'
    line = [
        config,
        '--recipes',
        'fsdp2+checkpoint',
        '--processes',
        '2',
        '--size',
        '64',
        '96',
        '--batch',
        '1',
        '--json',
        str(data),
        '--force',
    ]
    measure_command.main([*line, '--iterations', '1', '--warm-up', '1', '--device', 'cpu'])
    (measured,) = json.loads(data.read_text())['rows']
    assert measured['status'] == ''
    plan_command.main([*line, '--memory', '8GiB'])
    (planned,) = json.loads(data.read_text())['rows']
    for of_plan, of_run in (('weight', 'parameter'), ('gradient',) * 2, ('optimizer',) * 2):
        assert planned[f'{of_plan}_bytes'] == pytest.approx(
            measured[f'{of_run}_bytes'], rel=0.01
        ), of_plan
    assert measured['optimizer_bytes'] / (8 * measured['trainable']) == pytest.approx(0.5, abs=0.02)


def test_of_two_processes_the_one_that_ran_out_of_memory_tells_why():
    fine = dict(status='', a_bytes=3, b=1, loss_is_finite=True)
    waited, empty = dict(status='failed', reason='x'), dict(status='out of memory', reason='y')
    assert rows._joined([waited, empty], 1, 2) == empty
    assert rows._joined([fine, dict(fine, a_bytes=5)], 0, 2)['a_bytes'] == 5
    assert rows._joined([fine], 1, 2)['status'] == 'failed'
    assert rows._joined([], 137, 2)['status'] == 'out of memory'
