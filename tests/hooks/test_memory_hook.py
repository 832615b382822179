"""The `memory` key in runs of the stock runner, and in MMDetection's own tools.

On two processes it is tested with adapters, by test_invariants.py.
"""

import functools
import weakref

import pytest
import stock_runs
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from stock_runs import CLASSES, LORA, losses, run, write_config

from mmadapt import UserError
from mmadapt.commands.test import set_tta
from mmadapt.hooks import MemoryHook
from mmadapt.memory.checkpointing import is_recomputed
from mmadapt.meters.step import SavedForBackward
from mmadapt.peft import require_state

# Everything but the training.
NOT_AT_ALL = {'train_cfg.max_epochs': 0, 'param_scheduler': None}
ONLY = dict(peft=None, custom_hooks=[dict(type='MemoryHook')])
_LAYERS = 'dict(num_layers=2, {}layer_cfg=dict(ffn_cfg=dict(feedforward_channels=32)))'
# As in the stock config, num_cp and with_cp are on.
stock_runs.MODELS['dino'] = (
    'mmdet::dino/dino-5scale_swin-l_8xb2-12e_coco.py',
    f"""
model = dict(
    num_queries=20, bbox_head=dict(num_classes={{n}}), neck=dict(in_channels=[8, 16, 32, 64]),
    test_cfg=dict(max_per_img=10),
    encoder={_LAYERS.format('num_cp=2, ')}, decoder={_LAYERS.format('')},
    backbone=dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8], window_size=7,
                  with_cp=True, init_cfg=None, convert_weights=False))""",
)


def recomputed(model):
    return [name for name, m in model.named_modules() if is_recomputed(m)]


@pytest.fixture
def build(data, bases, tmp_path):
    """Build a runner of a config with other values."""

    def _build(kind='rtmdet', changes=ONLY, prepare=None, kind_of_runner='Runner', **more):
        path = write_config(tmp_path, kind, data, bases(kind), LORA)
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(
            dict(
                work_dir=str(tmp_path / 'run'),
                visualizer=dict(type='Visualizer', vis_backends=[]),
                **{'train_dataloader.batch_size': 12},
                **changes,
                **more,
            )
        )
        if prepare is not None:
            prepare(cfg)
        return RUNNERS.build(Config(dict(cfg, runner_type=kind_of_runner)))

    return _build


def test_stock_tools_train_a_dino_alike_and_without_fairscale(data, tmp_path):
    iterations = (
        "train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=3, "
        'val_interval=9)\npeft = None\n'
        'default_hooks.update(checkpoint=dict(by_epoch=False, interval=3))\n'
    )
    runs = dict(
        plain='custom_hooks = []\n'
        'model = dict(backbone=dict(with_cp=False), encoder=dict(num_cp=-1))\n',
        memory="custom_hooks = [dict(type='MemoryHook')]\n"
        "memory = dict(checkpoint=['DeformableDetrTransformerDecoderLayer'], "
        "offload=True)\nactivation_checkpointing = ['neck']\n",
    )
    logs = {}
    for name, extra in runs.items():
        config = write_config(tmp_path / name, 'dino', data, None, extra=iterations, name='base')
        config.with_name('leaf.py').write_text(f"_base_ = ['base.py']\n{extra}")
        logs[name] = run(
            'train.py', config.with_name('leaf.py'), '--work-dir', tmp_path / name / 'run'
        )
    assert 'memory:' not in logs['plain']
    assert (
        'memory: recomputed in the backward pass, their inputs kept on the CPU: '
        '1 ChannelMapper, 2 DeformableDetrTransformerDecoderLayer, '
        '2 DeformableDetrTransformerEncoderLayer, 8 SwinBlock'
    ) in logs['memory']
    assert 'num_cp is taken over, for 2 DeformableDetrTransformerEncoderLayer' in logs['memory']
    plain, memory = (losses(tmp_path / name / 'run') for name in runs)
    assert len(plain) == 3
    assert memory == plain
    plain, memory = (torch.load(tmp_path / name / 'run' / 'iter_3.pth') for name in runs)
    assert [*memory['state_dict']] == [*plain['state_dict']]
    for key, value in plain['state_dict'].items():
        assert torch.equal(memory['state_dict'][key], value), key
    assert Config.fromstring(memory['meta']['cfg'], '.py').activation_checkpointing == ['neck']


def test_activation_checkpointing_is_taken_over_without_a_memory_key(build):
    runner = build(activation_checkpointing=['backbone', 'neck'])
    runner.train()
    assert recomputed(runner.model) == ['backbone', 'neck']
    assert runner.cfg.activation_checkpointing == ['backbone', 'neck']


@pytest.mark.parametrize(
    'hooks',
    [['PEFTInjectHook'], ['PEFTInjectHook', 'MemoryHook'], ['MemoryHook', 'PEFTInjectHook']],
)
def test_peft_adapts_first_whatever_the_order_and_brings_the_hook_along(build, hooks, monkeypatch):
    import mmadapt.hooks.memory_hook as module

    found = []

    def spy(model, config, names):
        found.append((require_state(model).adapted, config, names))
        return real(model, config, names)

    real = module.apply_memory
    monkeypatch.setattr(module, 'apply_memory', spy)
    hooks = dict(NOT_AT_ALL, custom_hooks=[dict(type=kind) for kind in hooks])
    runner = build(
        'faster_rcnn',
        hooks,
        memory=dict(checkpoint=['FPN'], offload=True),
        activation_checkpointing='rpn_head',
        **{'model.backbone.with_cp': True},
    )
    runner.train()
    assert sum(isinstance(hook, MemoryHook) for hook in runner.hooks) == 1
    ((adapted, config, names),) = found
    assert any(name.startswith('backbone.') for name in adapted)
    assert (config.offload, names) == (True, ['rpn_head'])
    blocks = recomputed(runner.model)
    assert len(blocks) == 18
    assert {'backbone.layer2.0', 'neck', 'rpn_head'} < set(blocks)


def test_with_cp_is_honored_where_there_is_only_peft(build):
    runner = build('faster_rcnn', NOT_AT_ALL, **{'model.backbone.with_cp': True})
    runner.train()
    assert len(recomputed(runner.model)) == 16
    assert not any(getattr(m, 'with_cp', False) for m in runner.model.modules())


def test_peft_alone_brings_no_hook_along(build):
    runner = build(changes=NOT_AT_ALL)
    runner.train()
    assert not any(isinstance(hook, MemoryHook) for hook in runner.hooks)


def test_what_is_made_again_is_not_kept_and_the_same_is_trained(build):
    trained, kept = [], {}
    for memory in (dict(rematerialize=True), None):
        runner = build(changes={'train_cfg.max_epochs': 1, 'param_scheduler': None}, memory=memory)
        parse = runner.model.parse_losses
        with SavedForBackward(runner.model) as saved:

            def parse_losses(losses, parse=parse, saved=saved, key=memory is None):
                kept.setdefault(key, []).append(saved.bytes())
                return parse(losses)

            runner.model.parse_losses = parse_losses
            runner.train()
        trained.append(runner.model.state_dict())
    assert sum(kept[False]) < 0.8 * sum(kept[True])
    for key, value in trained[1].items():
        assert torch.equal(trained[0][key], value), key


def test_the_averaged_copy_is_none_of_fairscale(build):
    def _checkpointed_forward(original, weak_self, offload, *args):
        return original(weak_self(), *args)

    _checkpointed_forward.__module__ = 'fairscale.nn.checkpoint.checkpoint_activations'
    runner = build(
        changes=dict(
            ONLY,
            custom_hooks=[
                dict(type='EMAHook', ema_type='ExpMomentumEMA', priority=49),
                dict(type='MemoryHook'),
            ],
        )
    )
    neck = runner.model.neck
    neck.forward = functools.partial(
        _checkpointed_forward, type(neck).forward, weakref.ref(neck), False
    )
    runner.train()
    (copy,) = (hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook))
    assert copy.neck.forward.module is copy.neck
    assert recomputed(runner.model) == ['neck']


@pytest.mark.parametrize(
    ('kind', 'mode', 'tta', 'changes'),
    [
        ('Runner', 'test', False, ONLY),
        ('Runner', 'test', True, ONLY),
        ('Runner', 'val', False, {}),
        ('FlexibleRunner', 'test', True, {}),
    ],
)
def test_in_testing_there_are_islands_and_nothing_is_recomputed(
    build, bases, kind, mode, tta, changes
):
    def prepare(cfg):
        if tta:
            cfg.pop('tta_model'), cfg.pop('tta_pipeline')  # of many sizes
            set_tta(cfg)

    runner = build(
        changes=changes,
        prepare=prepare,
        kind_of_runner=kind,
        load_from=str(bases('rtmdet', len(CLASSES))),
        memory=dict(checkpoint=['no such block'], fp32_modules=[r'bbox_head\.rtm_c.*']),
        **{f'{mode}_cfg.fp16': True},
    )
    found = dict(rtm_cls=set(), rtm_reg=set())

    class Watch(Hook):
        def before_test_epoch(self, runner):
            head = (runner.model.module if tta else runner.model).bbox_head
            for name, kinds in found.items():
                getattr(head, name)[0].register_forward_hook(
                    lambda m, args, out, kinds=kinds: kinds.add(out.dtype)
                )

        before_val_epoch = before_test_epoch

    runner.register_hook(Watch())
    getattr(runner, mode)()
    assert found == dict(rtm_cls={torch.float32}, rtm_reg={torch.bfloat16})
    assert recomputed(runner.model) == []


def test_in_testing_what_is_wrong_of_it_is_said_too(build):
    runner = build(memory=dict(fp32_modules=['bbox_hed']))
    with pytest.raises(UserError, match="memory.fp32_modules: 'bbox_hed' .*'bbox_head'"):
        runner.test()
    runner.cfg.memory = dict(checkpoints=['CSPLayer'])
    with pytest.raises(UserError, match="no key 'checkpoints'; nearest: 'checkpoint'"):
        runner.test()


def test_a_runner_that_has_tested_trains_with_all_of_it(build):
    runner = build(
        changes=dict(ONLY, **NOT_AT_ALL),
        memory=dict(checkpoint=['neck'], fp32_modules=['bbox_head.rtm_cls']),
    )
    runner.test()
    runner.train()
    assert recomputed(runner.model) == ['neck']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(memory=dict(checkpoint=['CSPLyer'])), "memory.checkpoint: 'CSPLyer' .* 'CSPLayer'"),
        (
            dict(memory=dict(checkpoints=['CSPLayer'])),
            "no key 'checkpoints'; nearest: 'checkpoint'",
        ),
        (
            dict(memory=dict(fp32_modules=['bbox_hed'])),
            "memory.fp32_modules: 'bbox_hed' .*'bbox_head'",
        ),
        (dict(activation_checkpointing=['nek']), "there is no module 'nek'; nearest: 'neck'"),
        (dict(), 'custom_hooks holds MemoryHook but the config has no `memory`; inherit'),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(build, changes, message, monkeypatch):
    monkeypatch.setattr(Runner, 'load_or_resume', None)
    with pytest.raises(UserError, match=message):
        build(**changes).train()
