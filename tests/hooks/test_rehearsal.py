"""What is wrong is said before a runner is built, which prints the whole config."""

import copy
from importlib import import_module

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from stock_runs import LORA, write_config
from torch import nn

from mmadapt import UserError
from mmadapt.files import read_checkpoint
from mmadapt.hooks.rehearsal import rehearse

DORA = dict(method=dict(type='DoRA', r=2))


@pytest.fixture
def config(data, bases, tmp_path):
    def _config(peft=LORA, base='given', **changes):
        path = write_config(
            tmp_path, 'rtmdet', data, bases('rtmdet') if base == 'given' else base, peft, ema=False
        )
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(dict(work_dir=str(tmp_path / 'run'), **changes))
        return cfg

    return _config


@pytest.fixture
def build(monkeypatch):
    """The main function of a tool, whose runner is never built."""

    def _main(tool, *args):
        monkeypatch.setattr(Runner, '__init__', _never)
        import_module(f'mmadapt.commands.{tool}').main([*map(str, args)])

    return _main


def _never(*args, **kwargs):
    raise AssertionError('a runner is being built')


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(peft=dict(LORA, targets=['backbone.stage9'])),
            "matches no layer; nearest: 'backbone.st",
        ),
        (dict(base=None), 'would be random: set load_from'),
        (dict(memory=dict(checkpoint=['CSPLyer'])), "memory.checkpoint: 'CSPLyer' .*'CSPLayer'"),
        (dict(memory=dict(fp32_modules=['bbox_hed'])), "memory.fp32_modules: 'bbox_hed'"),
        (
            dict(peft=None, activation_checkpointing=['nek'], memory=dict()),
            "no module 'nek'; nearest",
        ),
        (dict(resume=True), 'cannot be resumed'),
        (dict(peft=None, base='nowhere.pth'), 'checkpoint nowhere.pth not found'),
        (dict(efficient_conv_bn_eval=['backbone']), 'bypasses the layers that peft adapts'),
    ],
)
def test_a_training_is_refused_as_its_hooks_would(config, changes, message):
    cfg = config(**changes)
    before = copy.deepcopy(cfg._cfg_dict)
    with pytest.raises(UserError, match=message):
        rehearse(cfg, trains=True)
    assert cfg._cfg_dict == before


def test_checkpoints_of_another_run_and_of_another_model_are_refused(start, config, tmp_path):
    start(ema=None)
    trained = tmp_path / 'run' / 'epoch_1.pth'
    for changes in (
        dict(base=str(trained)),
        dict(resume=True, load_from=None),
        dict(peft=dict(LORA, adapter=str(tmp_path / 'run' / 'adapter'))),
    ):
        rehearse(config(**changes), trains=True)
        if 'resume' not in changes:
            rehearse(config(**changes), trains=False)
    with pytest.raises(UserError, match='epoch_1.pth'):
        rehearse(config(DORA, resume=True, load_from=None), trains=True)
    rehearse(config(DORA, base=str(trained)), trains=False)  # the record says what is tested
    checkpoint = read_checkpoint(str(trained))
    del checkpoint['mmadapt']
    torch.save(checkpoint, trained)
    with pytest.raises(UserError, match='holds an adapter but not what its base is'):
        rehearse(config(base=str(trained)), trains=False)
    torch.save(dict(state_dict={'other.weight': torch.zeros(3)}), trained)
    with pytest.raises(UserError, match='none of its weights'):
        rehearse(config(base=str(trained)), trains=True)


def test_what_is_right_passes_says_nothing_and_draws_no_weights(config, capfd, bases, monkeypatch):
    loggers = []
    monkeypatch.setattr('mmadapt.logs.print_log', lambda line, logger, *_: loggers.append(logger))
    for changes in ({}, dict(peft=None, memory=dict(checkpoint=['CSPLayer'])), dict(peft=None)):
        cfg = config(**changes)
        bases('rtmdet', 2)
        capfd.readouterr()
        state = torch.get_rng_state()
        rehearse(cfg, trains=True)
        cfg.load_from = str(bases('rtmdet', 2))
        rehearse(cfg, trains=False)
        assert torch.equal(torch.get_rng_state(), state)
        said = capfd.readouterr()
        assert not said.out
        assert 'INFO' not in said.err
    assert set(loggers) == {'silent'}


@MODELS.register_module('built_with_weights')
class BuiltWithWeights(BaseModel):
    """As models that call `from_pretrained`: weights that are no random ones, once it has any."""

    def __init__(self, loads=True):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        if loads:
            self.layer.load_state_dict(dict(weight=torch.eye(4), bias=torch.zeros(4)))

    def forward(self, x):
        return self.layer(x)


def test_weights_that_a_model_is_built_with_are_looked_for_with_values():
    cfg = Config(
        dict(
            default_scope='mmengine',
            model=dict(type='built_with_weights'),
            work_dir='',
            peft=dict(LORA, targets=['layer'], head='freeze'),
        )
    )
    rehearse(cfg, trains=True)
    cfg.model.loads = False
    with pytest.raises(UserError, match='would be random: set load_from'):
        rehearse(cfg, trains=True)


def test_a_model_that_cannot_be_built_without_values_is_left_to_the_runner(config):
    cfg = config()
    cfg.model.backbone.deepen_factor = 'deep'
    rehearse(cfg, trains=True)


@pytest.mark.parametrize(
    ('tool', 'peft', 'message'),
    [
        ('train', dict(LORA, targets=['backbone.stage9']), 'matches no layer'),
        ('train', dict(method=dict(type='LoRA', rank=3)), "has no key 'rank'"),
        ('test', dict(LORA, adapter='no/folder'), 'no/folder'),
    ],
)
def test_the_tools_rehearse_before_they_build(tool, peft, message, data, bases, tmp_path, build):
    path = write_config(tmp_path, 'rtmdet', data, bases('rtmdet'), peft)
    with pytest.raises(UserError, match=message):
        build(tool, path, *([bases('rtmdet')] if tool == 'test' else []), '--work-dir', tmp_path)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(peft=dict(method=dict(type='LoRA', rank=3))), "has no key 'rank'"),
        (dict(memory=dict(checkpoints=[])), "no key 'checkpoints'"),
        (dict(base='no/such.pth'), 'no/such.pth not found'),
    ],
)
def test_any_tool_says_what_needs_no_model_before_it_prints_the_config(
    config, monkeypatch, changes, message
):
    monkeypatch.setattr(Runner, '__init__', _never)
    with pytest.raises(UserError, match=message):
        Runner.from_cfg(config(**changes))
