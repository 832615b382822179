"""What is said before a run, and under which runner."""

from urllib.error import URLError

import mmengine.runner.checkpoint as mmengine_checkpoint
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import DATASETS, MODELS, RUNNERS
from mmengine.runner import Runner, load_state_dict
from torch import nn

from mmadapt import UserError
from mmadapt.hooks import LoadedCheckpointHook, RandomStateHook
from mmadapt.hooks.random_state_hook import add_random_state_hook
from mmadapt.optim.resumed import report_resumed

REMOTE = 'https://nowhere.invalid/backbone.pth'
FLEXIBLE = dict(
    runner_type='FlexibleRunner',
    env_cfg=dict(dist_cfg=dict(backend='gloo')),
    strategy=dict(type='mmadapt.SingleDeviceStrategy'),
)


@DATASETS.register_module('checked_toy')
class Data:
    metainfo = dict(classes=('thing',))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(x=torch.full((4,), index + 1.0))


@MODELS.register_module('checked_backbone')
class Backbone(BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x)


@MODELS.register_module('checked_toy')
class Model(BaseModel):
    def __init__(self, checkpoint=None):
        super().__init__()
        self.backbone = MODELS.build(
            dict(
                type='checked_backbone',
                init_cfg=checkpoint and dict(type='Pretrained', checkpoint=checkpoint),
            )
        )
        self.head = nn.Linear(4, 1)

    def forward(self, x, mode='loss'):
        return dict(loss=self.head(self.backbone(x)).square().mean())


@pytest.fixture
def said(monkeypatch):
    lines = []
    for place in ('hooks.run_check_hook.warn', 'files.pretrained.say', 'strategies.lifecycle.warn'):
        monkeypatch.setattr(f'mmadapt.{place}', lines.append)
    return lines


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    def load_url(*_, **__):
        raise URLError('no network')

    monkeypatch.setattr(mmengine_checkpoint, 'load_url', load_url)


def build(folder, epochs=2, scheduler=None, **changes):
    cfg = Config(
        dict(
            work_dir=str(folder),
            model=dict(type='checked_toy'),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            train_dataloader=dict(
                dataset=dict(type='checked_toy'),
                sampler=dict(type='DefaultSampler', shuffle=False),
                batch_size=2,
                num_workers=0,
                collate_fn=dict(type='default_collate'),
            ),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
            param_scheduler=scheduler,
            custom_hooks=[dict(type='RunCheckHook')],
            visualizer=dict(type='Visualizer', vis_backends=[]),
            default_scope='mmengine',
            log_level='WARNING',
            experiment_name=str(folder).replace('/', '_'),
        )
    )
    cfg.merge_from_dict(changes)
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def train(*args, **changes):
    runner = build(*args, **changes)
    runner.train()
    MessageHub._instance_dict.clear()
    return runner


STEPS = [
    dict(type='MultiStepLR', milestones=[1, 3]),
    dict(type='CosineAnnealingLR', by_epoch=False),
]


@pytest.mark.parametrize('kind', [{}, FLEXIBLE], ids=['Runner', 'FlexibleRunner'])
def test_a_resumed_run_says_what_it_does_not_follow(kind, said, tmp_path):
    train(tmp_path / 'first', 2, STEPS[:], **kind)
    assert not any('--resume' in line for line in said)
    again = dict(load_from=str(tmp_path / 'first' / 'epoch_1.pth'), resume=True, **kind)
    train(tmp_path / 'same', 2, STEPS[:], **again)
    assert not any('--resume' in line for line in said)

    other = [dict(STEPS[0], milestones=[2, 4]), STEPS[1]]
    runner = train(
        tmp_path / 'other',
        4,
        other,
        **{'optim_wrapper.optimizer.momentum': 0.5, 'optim_wrapper.optimizer.lr': 0.1},
        **again,
    )
    line, length = [line for line in said if '--resume' in line]
    assert '--resume goes on from epoch 1 to 4, as train_cfg.max_epochs of the config' in length
    assert 'it was 2 when' in length
    assert runner.epoch == 4
    for part in (
        'milestones [1, 3] (config: [2, 4])',
        'param_scheduler[1].T_max 4 (config: 8)',
        'param_scheduler[1].end 4 (config: 8)',
        'optimizer.momentum 0.9 (config: 0.5)',
        'optimizer.lr 0.01 (config: 0.1)',
        'starts from the checkpoint with load_from',
    ):
        assert part in line, line
    assert 'max_epochs' not in line
    # And so it is.
    schedulers = runner.param_schedulers
    assert sorted(schedulers[0].milestones) == [1, 3]
    assert runner.optim_wrapper.param_groups[0]['momentum'] == 0.9


@pytest.mark.parametrize('kind', [{}, FLEXIBLE], ids=['Runner', 'FlexibleRunner'])
def test_a_finished_run_says_so_and_the_option_goes_on(kind, said, tmp_path):
    train(tmp_path / 'run', 2, STEPS[1:], **kind)
    assert said == []
    for length, epochs in ((2, 2), (1, 2), (3, 3)):
        runner = train(tmp_path / 'run', length, STEPS[1:], resume=True, **kind)
        assert runner.epoch == epochs
        lines = [line for line in said if '--resume' in line]
        said.clear()
        assert any('finished' in line for line in lines) == (length < 3)
        if length < 3:
            (line,) = lines
            assert (
                f'epoch_2.pth is the end of a finished run: it has 2 of the {length} epochs' in line
            )
            assert '--cfg-options train_cfg.max_epochs=N with N above 2 goes on' in line


def test_a_run_by_iterations_is_finished_by_iterations():
    loop, checkpoint = dict(by_epoch=False, max_iters=4), dict(meta=dict(epoch=0, iter=4))
    (line,) = report_resumed(checkpoint, ['momentum'], loop, 'a.pth')
    assert 'a.pth is the end of a finished run: it has 4 of the 4 iters' in line
    assert 'train_cfg.max_iters=N with N above 4' in line
    assert report_resumed(checkpoint, [], dict(max_iters=5), 'a.pth') == []


def test_a_run_with_a_scheduler_that_keeps_a_function_is_resumed(tmp_path):
    kept = dict(custom_hooks=[dict(type='RandomStateHook')])
    scheduler = [dict(type='OneCycleLR', eta_max=0.1, total_steps=4, by_epoch=False)]
    whole = train(tmp_path / 'whole', 2, scheduler, **kept)
    rest = train(
        tmp_path / 'rest',
        2,
        scheduler,
        resume=True,
        **kept,
        load_from=str(tmp_path / 'whole' / 'epoch_1.pth'),
    )
    assert whole.param_schedulers[0].get_last_value() == rest.param_schedulers[0].get_last_value()
    for key, value in whole.model.state_dict().items():
        assert torch.equal(rest.model.state_dict()[key], value)


def test_what_no_checkpoint_of_mmengines_strategies_holds_is_said(monkeypatch, tmp_path):
    """Ours keep it, and bring the hook for it; all others might hold parts of a model."""
    said = []
    monkeypatch.setattr('mmadapt.hooks.loaded_hook.warn', said.append)
    stock = dict(FLEXIBLE, strategy=dict(type='SingleDeviceStrategy'))
    runner = train(tmp_path / 'first', 1, **FLEXIBLE)
    assert sum(isinstance(hook, RandomStateHook) for hook in runner.hooks) == 1
    for kind in (FLEXIBLE, stock):
        runner = build(
            tmp_path / 'rest',
            2,
            resume=True,
            **kind,
            load_from=str(tmp_path / 'first' / 'epoch_1.pth'),
        )
        add_random_state_hook(runner)
        runner.register_hook(LoadedCheckpointHook())
        runner.train()
        MessageHub._instance_dict.clear()
    (line,) = said
    assert 'with SingleDeviceStrategy does not continue exactly' in line


def test_the_number_of_schedulers_too(said, tmp_path):
    train(tmp_path / 'first', 1, STEPS[:1])
    train(
        tmp_path / 'other',
        2,
        STEPS[:],
        resume=True,
        load_from=str(tmp_path / 'first' / 'epoch_1.pth'),
    )
    assert any('1 schedulers (config: 2)' in line for line in said)


def test_a_warm_up_longer_than_the_run_is_said_once_the_data_is_there(said, tmp_path):
    train(tmp_path, 2, [dict(type='LinearLR', by_epoch=False, end=50)])
    assert any('warms up until iteration 50 of a run of 4' in line for line in said)


@pytest.mark.parametrize('kind', [{}, FLEXIBLE], ids=['Runner', 'FlexibleRunner'])
def test_weights_that_the_checkpoint_has_are_not_downloaded(kind, said, tmp_path):
    torch.manual_seed(3)
    state = MODELS.build(dict(type='checked_toy')).state_dict()
    whole = tmp_path / 'whole.pth'
    torch.save(dict(state_dict=state), whole)
    given = {'model.checkpoint': REMOTE, 'load_from': str(whole), **kind}
    runner = train(tmp_path / 'run', 1, **given, **{'optim_wrapper.optimizer.lr': 0.0})
    assert any(f'backbone: {REMOTE} is not read' in line for line in said)
    model = runner.model
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
    assert 'init_weights' not in vars(model.backbone)

    del state['backbone.layer.bias']
    torch.save(state, whole)  # a bare state dict
    with pytest.raises(
        UserError,
        match=rf'cannot download {REMOTE} \(no network\), with which '
        'backbone is initialized: .*--cfg-options model.backbone.init_cfg',
    ):
        train(tmp_path / 'less', 1, **given)
    MessageHub._instance_dict.clear()


def test_without_a_checkpoint_the_download_is_named(tmp_path):
    with pytest.raises(UserError, match='cannot download .* set load_from'):
        train(tmp_path, 1, **{'model.checkpoint': REMOTE})
    MessageHub._instance_dict.clear()


@pytest.mark.parametrize('kind', [{}, FLEXIBLE], ids=['Runner', 'FlexibleRunner'])
def test_with_peft_neither_a_start_nor_a_resumed_run_downloads_what_it_has(kind, said, tmp_path):
    whole = tmp_path / 'whole.pth'
    torch.save(dict(state_dict=MODELS.build(dict(type='checked_toy')).state_dict()), whole)
    peft = dict(method=dict(type='LoRA', r=2), targets=['backbone.layer'], head=['head'])
    given = {
        'model.checkpoint': REMOTE,
        'peft': peft,
        'custom_hooks': [dict(type='PEFTInjectHook')],
        **kind,
    }
    train(tmp_path / 'run', 1, **given, load_from=str(whole))
    train(
        tmp_path / 'run2', 2, **given, resume=True, load_from=str(tmp_path / 'run' / 'epoch_1.pth')
    )
    assert sum(f'backbone: {REMOTE} is not read' in line for line in said) == 2


@pytest.mark.parametrize('kind', [{}, FLEXIBLE], ids=['Runner', 'FlexibleRunner'])
def test_with_peft_a_file_that_is_the_base_is_read_by_a_resumed_run_too(kind, said, tmp_path):
    file = tmp_path / 'backbone.pth'
    torch.save(MODELS.build(dict(type='checked_backbone')).state_dict(), file)
    peft = dict(method=dict(type='LoRA', r=2), targets=['backbone.layer'], head=['head'])
    given = {
        'model.checkpoint': str(file),
        'peft': peft,
        'custom_hooks': [dict(type='PEFTInjectHook')],
        **kind,
    }
    train(tmp_path / 'run', 1, **given)
    train(
        tmp_path / 'run2', 2, **given, resume=True, load_from=str(tmp_path / 'run' / 'epoch_1.pth')
    )
    assert not any('is not read' in line for line in said)


@pytest.mark.parametrize('kind', [{}, FLEXIBLE], ids=['Runner', 'FlexibleRunner'])
def test_what_does_not_fit_is_said_once_though_the_average_loads_it_too(kind, tmp_path, capsys):
    state = Model().state_dict()
    state['head.weight'] = torch.zeros(2, 4)
    torch.save(dict(state_dict=state), tmp_path / 'base.pth')
    hooks = [dict(type='EMAHook'), dict(type='RunCheckHook')]
    for _ in range(2):  # each run says it
        train(tmp_path, 1, custom_hooks=hooks, load_from=str(tmp_path / 'base.pth'), **kind)
        said = capsys.readouterr()
        assert (said.out + said.err).count('size mismatch for head.weight') == 1
    load_state_dict(Model(), state)
    load_state_dict(Model(), state)
    assert capsys.readouterr().out.count('size mismatch for head.weight') == 2
