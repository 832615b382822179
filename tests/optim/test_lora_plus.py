"""LoRA+: which parameters learn how fast."""

import copy
from collections import OrderedDict

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.optim.scheduler import CosineAnnealingLR, LinearLR, MultiStepLR
from torch import nn

import mmadapt.optim  # noqa: F401  registers the constructor
from mmadapt import UserError, inject

LR, RATIO, DECAY = 0.01, 8.0, 0.1


class Toy(nn.Module):
    """A model with a layer of two names, a norm, a grouped convolution and a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.norm = nn.BatchNorm2d(4)
        self.first = nn.Linear(4, 4)
        self.again = nn.Sequential(self.first)
        self.bbox_head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.norm(self.depthwise(self.stem(x))).mean((2, 3))
        return self.bbox_head(self.again(self.first(x).tanh()))


def build(model, paramwise_cfg=None, optimizer='SGD', **optimizer_args):
    optimizer_args = {'lr': LR, 'weight_decay': DECAY, **optimizer_args}
    return build_optim_wrapper(
        model,
        dict(
            constructor='LoRAPlusOptimWrapperConstructor',
            paramwise_cfg=paramwise_cfg,
            optimizer=dict(type=optimizer, **optimizer_args),
        ),
    )


@pytest.fixture
def adapted():
    torch.manual_seed(0)
    model = Toy()
    inject(model, dict(method=dict(type='LoRA', r=2, alpha=4)))
    for name, parameter in model.named_parameters():
        if 'lora_B' in name:
            nn.init.normal_(parameter)
    return model


def settings(model, optim_wrapper, what='lr'):
    """Return the learning rate of every parameter in the optimizer, by name."""
    found = {}
    for group in optim_wrapper.optimizer.param_groups:
        for parameter in group['params']:
            assert parameter not in found, 'a parameter is in the optimizer twice'
            found[parameter] = group[what]
    names = {p: name for name, p in model.named_parameters()}
    return {names[p]: value for p, value in found.items()}


@pytest.mark.parametrize(
    'paramwise_cfg',
    [
        dict(lora_plus_ratio=RATIO),
        dict(lora_plus_ratio=RATIO, norm_decay_mult=0.0),
        dict(lora_plus_ratio=RATIO, bypass_duplicate=True),
    ],
)
def test_only_lora_b_learns_faster(adapted, paramwise_cfg):
    rates = settings(adapted, build(adapted, paramwise_cfg))
    trainable = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert rates == {n: LR * RATIO if n.endswith('lora_B') else LR for n in trainable}
    assert {'stem.lora_B', 'first.lora_A', 'depthwise.weight', 'bbox_head.bias'} <= trainable
    assert 'stem.weight' not in rates


@pytest.mark.parametrize('paramwise_cfg', [None, {}])
def test_without_paramwise_cfg_the_ratio_is_that_of_the_authors(adapted, paramwise_cfg):
    rates = settings(adapted, build(adapted, paramwise_cfg))
    assert rates['stem.lora_B'] == pytest.approx(16 * LR)
    assert rates['stem.lora_A'] == LR
    assert 'stem.weight' not in rates


def test_few_groups(adapted):
    groups = build(adapted).optimizer.param_groups
    assert [len(group['params']) for group in groups] == [6, 2]


def test_every_projection_of_an_attention_learns_faster():
    model = nn.Module()
    for name in ('lora_A', 'lora_A_q', 'lora_B_q', 'lora_B_v', 'not_lora_B'):
        model.register_parameter(name, nn.Parameter(torch.ones(2, 2)))
    rates = settings(model, build(model, dict(lora_plus_ratio=RATIO)))
    assert rates == dict(
        lora_A=LR, lora_A_q=LR, not_lora_B=LR, lora_B_q=LR * RATIO, lora_B_v=LR * RATIO
    )


def test_custom_keys_and_the_ratio_multiply(adapted):
    wrapper = build(
        adapted,
        dict(
            lora_plus_ratio=RATIO,
            flat_decay_mult=0.5,
            custom_keys={
                'stem': dict(lr_mult=0.5, decay_mult=0.0),
                'first.lora_B': dict(lr_mult=2.0),
            },
        ),
    )
    rates, decays = settings(adapted, wrapper), settings(adapted, wrapper, 'weight_decay')
    assert rates['stem.lora_B'] == pytest.approx(0.5 * LR * RATIO)
    assert rates['stem.lora_A'] == pytest.approx(0.5 * LR)
    assert rates['first.lora_B'] == pytest.approx(2 * LR * RATIO)
    assert rates['bbox_head.weight'] == LR
    assert decays['stem.lora_A'] == decays['stem.lora_B'] == 0
    assert decays['first.lora_A'] == decays['first.lora_B'] == DECAY
    assert decays['bbox_head.bias'] == DECAY / 2


def test_groups_are_those_of_hugging_face():
    peft = pytest.importorskip('peft', reason='Hugging Face peft is not installed')
    from peft.optimizers import create_loraplus_optimizer

    stock = nn.Sequential(
        OrderedDict(stem=nn.Conv2d(3, 4, 3), flat=nn.Flatten(), first=nn.Linear(16, 4))
    )
    ours = copy.deepcopy(stock)
    inject(ours, dict(method=dict(type='LoRA', r=2)))
    theirs = peft.get_peft_model(stock, peft.LoraConfig(r=2, target_modules=['stem', 'first']))
    optimizer = create_loraplus_optimizer(
        theirs, torch.optim.AdamW, lr=LR, loraplus_lr_ratio=RATIO, loraplus_weight_decay=DECAY
    )
    names = {
        p: n.removeprefix('base_model.model.').removesuffix('.default.weight')
        for n, p in theirs.named_parameters()
    }
    expected = {
        names[p]: (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for p in group['params']
    }
    wrapper = build(ours, dict(lora_plus_ratio=RATIO), optimizer='AdamW')
    decays = settings(ours, wrapper, 'weight_decay')
    assert {n: (lr, decays[n]) for n, lr in settings(ours, wrapper).items()} == expected


def test_one_step_is_that_of_the_formula(adapted):
    wrapper = build(adapted, dict(lora_plus_ratio=RATIO), weight_decay=0.0)
    before = {name: p.detach().clone() for name, p in adapted.named_parameters()}
    trained = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    loss = adapted(torch.randn(2, 3, 8, 8)).square().sum()
    gradients = dict(
        zip(
            trained,
            torch.autograd.grad(loss, list(trained.values()), retain_graph=True),
            strict=True,
        )
    )
    wrapper.update_params(loss)
    for name, parameter in adapted.named_parameters():
        rate = LR * RATIO if 'lora_B' in name else LR
        step = rate * gradients[name] if name in trained else 0
        torch.testing.assert_close(parameter.detach(), before[name] - step, msg=name)
    assert all(gradient.abs().sum() > 0 for gradient in gradients.values())


@pytest.mark.parametrize(
    ('scheduler', 'arguments'),
    [
        (LinearLR, dict(start_factor=0.1, end=4)),
        (MultiStepLR, dict(milestones=[2], gamma=0.1)),
        (CosineAnnealingLR, dict(T_max=6)),
        (CosineAnnealingLR, dict(T_max=6, eta_min_ratio=0.05)),
    ],
)
def test_schedulers_keep_the_ratio(adapted, scheduler, arguments):
    wrapper = build(adapted, dict(lora_plus_ratio=RATIO))
    steps = scheduler(wrapper, by_epoch=False, **arguments)
    seen = set()
    for _ in range(5):
        wrapper.update_params(adapted(torch.randn(2, 3, 8, 8)).square().sum() * 0)
        steps.step()
        rates = settings(adapted, wrapper)
        assert rates['stem.lora_B'] == pytest.approx(RATIO * rates['stem.lora_A'])
        seen.add(rates['stem.lora_A'])
    assert len(seen) > 1, 'the scheduler changed nothing'


@pytest.mark.parametrize('ratio', [0.5, 0, -16, float('inf'), float('nan'), True, '16', None])
def test_a_ratio_that_is_none_is_refused(adapted, ratio):
    with pytest.raises(UserError, match='lora_plus_ratio must be a number of at least 1'):
        build(adapted, dict(lora_plus_ratio=ratio))


def test_a_misspelled_key_is_refused(adapted):
    with pytest.raises(UserError, match="'lora_plus_ration'; nearest: 'lora_plus_ratio'"):
        build(adapted, dict(lora_plus_ration=4))


def test_an_optimizer_without_a_rate_is_refused(adapted):
    with pytest.raises(UserError, match='optimizer.lr, which is not set'):
        build_optim_wrapper(
            adapted,
            dict(constructor='LoRAPlusOptimWrapperConstructor', optimizer=dict(type='Adam')),
        )


def test_an_adapted_model_without_lora_b_is_refused():
    model = Toy()
    inject(model, dict(method=None))
    with pytest.raises(UserError, match='Toy has no trainable lora_B'):
        build(model)


def test_an_adapted_model_whose_lora_b_are_frozen_is_refused(adapted):
    adapted.stem.lora_B.requires_grad_(False)
    assert 'stem.lora_B' not in settings(adapted, build(adapted))
    adapted.first.lora_B.requires_grad_(False)
    with pytest.raises(UserError, match='Toy has no trainable lora_B'):
        build(adapted)


def test_a_stock_model_cannot_be_trained_as_if_lora_plus_did_something():
    model = Toy()
    wrapper = build(model)
    loss = model(torch.randn(2, 3, 8, 8)).sum()
    with pytest.raises(UserError, match='Toy has no trainable lora_B.*PEFTInjectHook'):
        wrapper.update_params(loss)


class RunnableToy(BaseModel):
    """A model that a runner can train."""

    def __init__(self):
        super().__init__()
        self.body, self.bbox_head = nn.Linear(3, 3), nn.Linear(3, 1)

    def forward(self, inputs, mode='loss'):
        return dict(loss=self.bbox_head(self.body(torch.stack(inputs))).square().mean())


def test_a_runner_and_the_hook_build_it(tmp_path):
    from mmengine.config import Config
    from mmengine.registry import MODELS
    from mmengine.runner import Runner

    MODELS.register_module('LoRAPlusToy', module=RunnableToy, force=True)
    runner = Runner.from_cfg(
        Config(
            dict(
                model=dict(type='LoRAPlusToy'),
                work_dir=str(tmp_path),
                default_scope='mmengine',
                train_cfg=dict(by_epoch=False, max_iters=2),
                log_level='ERROR',
                train_dataloader=dict(
                    batch_size=2,
                    dataset=[dict(inputs=torch.ones(3))] * 4,
                    sampler=dict(type='DefaultSampler'),
                ),
                optim_wrapper=dict(
                    constructor='LoRAPlusOptimWrapperConstructor',
                    paramwise_cfg=dict(lora_plus_ratio=4.0),
                    optimizer=dict(type='SGD', lr=LR),
                ),
                param_scheduler=[dict(type='LinearLR', start_factor=0.5, by_epoch=False, end=4)],
                peft=dict(method=dict(type='LoRA', r=2), allow_random_base=True),
                custom_hooks=[dict(type='PEFTInjectHook')],
            )
        )
    )
    runner.train()
    rates = settings(runner.model, runner.optim_wrapper)
    assert set(rates) == {'body.lora_A', 'body.lora_B', 'bbox_head.weight', 'bbox_head.bias'}
    assert LR / 2 < rates['body.lora_A'] < LR
    assert rates['body.lora_B'] == pytest.approx(4 * rates['body.lora_A'])
    assert runner.model.body.lora_B.abs().sum() > 0
