"""The optimizer wrapper of mixed precision, on a CPU, in bfloat16 and float16."""

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.device import get_device
from mmengine.logging import MessageHub
from mmengine.optim import AmpOptimWrapper, OptimWrapper, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from mmadapt import UserError, inject
from mmadapt.optim import AutocastOptimWrapper, autocast, autocast_dtype

pytestmark = pytest.mark.skipif(get_device() != 'cpu', reason='this machine has an accelerator')
LOW = ['bfloat16', 'float16']


class Products(nn.Module):
    """Elementwise, so that autocast leaves it in float32, and its results are exact."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.arange(1.0, 5.0))

    def forward(self, x):
        return (self.factor * x).square().mean()


def batches(count=7):
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(0))


def sgd(model, **kwargs):
    return dict(optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), **kwargs)


def train(model, wrapper, data):
    wrapper.initialize_count_status(model, 0, len(data))
    for x in data:
        with wrapper.optim_context(model):
            loss = model(x)
        wrapper.update_params(loss)
    return wrapper


@pytest.mark.parametrize('dtype', LOW)
@pytest.mark.parametrize(
    'kwargs',
    [
        dict(),
        dict(clip_grad=dict(max_norm=0.3)),
        dict(clip_grad=dict(type='value', clip_value=0.1)),
        dict(accumulative_counts=3, clip_grad=dict(max_norm=0.3)),
    ],
)
def test_steps_clipping_and_accumulation_are_those_of_float32_bit_by_bit(dtype, kwargs):
    plain, model = Products(), Products()
    train(plain, OptimWrapper(**sgd(plain, **copy.deepcopy(kwargs))), batches())
    wrapper = train(
        model, AutocastOptimWrapper(dtype, **sgd(model, **copy.deepcopy(kwargs))), batches()
    )
    assert torch.equal(model.factor, plain.factor)
    assert not torch.equal(model.factor, Products().factor)
    assert wrapper.skipped_steps == 0


@pytest.mark.parametrize('dtype', [*LOW, torch.bfloat16, None])
def test_layers_compute_in_low_precision_over_parameters_of_float32(dtype):
    torch.manual_seed(0)
    model, kinds = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1)), set()
    model[0].register_forward_hook(lambda m, x, y: kinds.add(y.dtype))
    wrapper = AutocastOptimWrapper(dtype, **sgd(model))
    x, losses = torch.randn(16, 4), []
    for _ in range(30):
        with wrapper.optim_context(model):
            loss = (model(x).float() - x.sum(1, keepdim=True)).square().mean()
        wrapper.update_params(loss)
        losses.append(loss.item())
    assert kinds == {torch.float16 if dtype == 'float16' else torch.bfloat16}
    assert model[0].weight.dtype == torch.float32
    assert losses[-1] < 0.1 * losses[0]
    assert isinstance(wrapper, AmpOptimWrapper)


def test_bfloat16_scales_no_loss():
    model = Products()
    wrapper = AutocastOptimWrapper('bfloat16', **sgd(model))
    wrapper.backward(model(torch.ones(4)))
    plain = Products()
    plain(torch.ones(4)).backward()
    assert torch.equal(model.factor.grad, plain.factor.grad)


@pytest.mark.parametrize('loss_scale', ['dynamic', 1024.0, 512, dict(init_scale=256.0)])
@pytest.mark.parametrize('clip_grad', [None, dict(max_norm=1.0)])
def test_a_step_with_an_infinite_gradient_is_skipped_and_counted(loss_scale, clip_grad):
    model = Products()
    wrapper = AutocastOptimWrapper('float16', loss_scale, **sgd(model, clip_grad=clip_grad))
    scale = wrapper.loss_scaler.get_scale()
    assert scale == {'dynamic': 65536.0}.get(
        str(loss_scale), loss_scale if isinstance(loss_scale, (int, float)) else 256.0
    )
    data = batches(3)
    data[1, 2] = float('inf')
    train(model, wrapper, data)
    plain = Products()
    train(
        plain, OptimWrapper(**sgd(plain, clip_grad=clip_grad and dict(max_norm=1.0))), data[[0, 2]]
    )
    assert torch.equal(model.factor, plain.factor)
    assert wrapper.skipped_steps == 1
    assert MessageHub.get_current_instance().get_scalar('train/skipped_steps').current() == 1
    fixed = isinstance(loss_scale, (int, float))
    assert wrapper.loss_scaler.get_scale() == (scale if fixed else scale / 2)


def test_gradients_that_are_infinite_at_any_scale_end_the_training():
    model = Products()
    wrapper = AutocastOptimWrapper('float16', **sgd(model))
    with pytest.raises(
        UserError,
        match='50 steps in a row have infinite gradients in float16, '
        r'down to a loss scale of 5.8e-11; .*fp32_modules',
    ):
        train(model, wrapper, torch.full((60, 4), float('inf')))
    assert wrapper.skipped_steps == 50
    assert torch.equal(model.factor, Products().factor)
    data = torch.full((120, 4), float('inf'))
    data[::2] = 0.1
    other = Products()
    assert train(other, AutocastOptimWrapper('float16', **sgd(other)), data).skipped_steps == 60


@pytest.mark.parametrize('dtype', LOW)
def test_a_resumed_wrapper_goes_on_as_if_never_stopped(dtype):
    data = batches(6)
    data[1] = float('inf') if dtype == 'float16' else data[1]
    whole, first = Products(), Products()
    straight = train(whole, AutocastOptimWrapper(dtype, **sgd(whole)), data)
    stopped = train(first, AutocastOptimWrapper(dtype, **sgd(first)), data[:3])
    second = Products()
    second.load_state_dict(first.state_dict())
    resumed = AutocastOptimWrapper(dtype, **sgd(second))
    state = copy.deepcopy(stopped.state_dict())
    kept = copy.deepcopy(state)
    resumed.load_state_dict(state)
    assert state.keys() == kept.keys(), 'the state of the caller was changed'
    train(second, resumed, data[3:])
    assert torch.equal(second.factor, whole.factor)
    assert (
        resumed.loss_scaler.get_scale()
        == straight.loss_scaler.get_scale()
        == (32768.0 if dtype == 'float16' else 1.0)
    )


def wrappers(model):
    return {
        'plain': OptimWrapper(**sgd(model)),
        'amp': AmpOptimWrapper(**sgd(model)),
        **{dtype: AutocastOptimWrapper(dtype, **sgd(model)) for dtype in LOW},
    }


@pytest.mark.parametrize('before', ['plain', 'amp', *LOW])
@pytest.mark.parametrize('after', ['plain', 'amp', *LOW])
def test_a_run_can_go_on_in_another_precision(before, after):
    model = Products()
    one = train(model, wrappers(model)[before], batches(2))
    two = wrappers(model)[after]
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    momenta = [w.optimizer.state[model.factor]['momentum_buffer'] for w in (one, two)]
    assert torch.equal(*momenta)
    before_step = model.factor.detach().clone()
    train(model, two, batches(1))
    assert not torch.equal(model.factor, before_step)
    if after == 'float16':
        assert two.loss_scaler.get_scale() == 65536.0


@pytest.mark.parametrize('dtype', LOW)
def test_lora_plus_builds_it_and_its_rates_hold(dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 1))
    inject(model, dict(method=dict(type='LoRA', r=2), targets='all-linear', head='adapt'))
    wrapper = build_optim_wrapper(
        model,
        ConfigDict(
            type='AutocastOptimWrapper',
            dtype=dtype,
            optimizer=dict(type='SGD', lr=0.01),
            constructor='LoRAPlusOptimWrapperConstructor',
            paramwise_cfg=dict(lora_plus_ratio=8),
        ),
    )
    assert type(wrapper) is AutocastOptimWrapper
    assert {group['lr'] for group in wrapper.optimizer.param_groups} == {0.01, 0.08}
    with wrapper.optim_context(model):
        loss = model(torch.randn(3, 4)).float().square().mean()
    wrapper.update_params(loss)
    assert all(m.lora_B.abs().max() > 0 for m in (model[0], model[2]))


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(dtype='bf16'), "optim_wrapper.dtype='bf16' is not one of .*; nearest: '.*float16'"),
        (
            dict(dtype='float32'),
            "dtype='float32' is not one of .*without autocast: optim_wrapper.type='OptimWrapper'",
        ),
        (dict(dtype=torch.float64), "optim_wrapper.dtype='float64' is not one of"),
        (
            dict(loss_scale='dynamc'),
            "optim_wrapper.loss_scale must be 'dynamic', a positive number .*",
        ),
        (dict(loss_scale=-1.0), 'optim_wrapper.loss_scale must be .* got -1.0'),
        (dict(dtype='float16', loss_scale=dict(initial=2)), 'takes init_scale, .* got .*initial'),
    ],
)
def test_a_wrong_argument_is_named(kwargs, message):
    with pytest.raises(UserError, match=message):
        OPTIM_WRAPPERS.build(dict(type='AutocastOptimWrapper', **kwargs, **sgd(Products())))


@pytest.fixture
def old_gpu(monkeypatch):
    """Pretend that there is a GPU of 2018, which emulates bfloat16."""
    monkeypatch.setattr(autocast, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(
        torch.cuda, 'is_bf16_supported', lambda including_emulation=True: including_emulation
    )
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: 'Tesla T4')


def test_a_gpu_that_only_emulates_bfloat16_gets_float16(old_gpu):
    assert autocast_dtype() == torch.float16
    with pytest.raises(UserError, match="this Tesla T4 does not compute in bfloat16; take 'float1"):
        AutocastOptimWrapper('bfloat16', **sgd(Products()))


def test_a_cpu_gets_bfloat16():
    assert autocast_dtype() == torch.bfloat16
