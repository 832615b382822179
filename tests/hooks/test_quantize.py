"""A stock runner with ``peft.quant``: what it trains, keeps and finds again."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.model import BaseTTAModel, ExponentialMovingAverage
from torch import nn

from mmadapt import UserError, inject
from mmadapt.files import read_checkpoint
from mmadapt.hooks.quantize import quantize_loaded
from mmadapt.peft import merged_state_dict
from mmadapt.quantization import QuantizedLinear

QDORA = dict(
    method=dict(type='DoRA', r=4, alpha=8, dropout=0.1),
    targets='all-linear',
    quant=dict(bits=4, double_quant=True),
)
# A small Swin that proposes few boxes.
SMALL = {
    'model.backbone.depths': (1, 1, 1, 1),
    'model.test_cfg.nms_pre': 10,
    'train_dataloader.batch_size': 6,
    'train_cfg.max_epochs': 2,
}
EMA = dict(
    custom_hooks=[
        dict(type='EMAHook', momentum=0.2, update_buffers=True, priority=49),
        dict(type='PEFTInjectHook'),
    ]
)


class Averaging(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        return data_samples_list


@pytest.fixture(autouse=True)
def _bitsandbytes():
    pytest.importorskip('bitsandbytes', reason='bitsandbytes is not installed')


def quantized(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, QuantizedLinear)}


def state(file):
    return read_checkpoint(str(file))['state_dict']


def test_a_run_keeps_the_base_out_of_its_files_resumes_exactly_and_is_evaluated_as_it_was(
    start, bases, tmp_path
):
    runner = start(QDORA, kind='swin', **SMALL, **EMA)
    layers = quantized(runner.model)
    assert len(layers) == 19
    average = next(hook for hook in runner.hooks if isinstance(hook, EMAHook)).ema_model.module
    assert quantized(average).keys() == layers.keys()
    for name, layer in quantized(average).items():
        assert layer.weight is layers[name].weight
        assert not torch.equal(layer.lora_B, layers[name].lora_B)

    run = tmp_path / 'run'
    last = state(run / 'epoch_2.pth')
    for name in layers:
        assert {key.removeprefix(f'{name}.') for key in last if key.startswith(f'{name}.')} == {
            'lora_A',
            'lora_B',
            'magnitude',
        }
    # Magnitudes start from the weights of the checkpoint, not from those the model was built with.
    name = 'backbone.stages.0.blocks.0.attn.w_msa.qkv'
    base = state(bases('swin'))[f'{name}.weight'].norm(dim=1)
    assert (layers[name].magnitude - base).abs().max() < 0.1 * base.max()

    wanted = {key: value.clone() for key, value in merged_state_dict(average).items()}
    best = start(QDORA, 'test', str(run / 'epoch_2.pth'), 'swin', **SMALL)
    assert quantized(best.model).keys() == layers.keys()
    for key, value in merged_state_dict(best.model).items():
        assert torch.equal(value, wanted[key]), key

    (run / 'epoch_2.pth').rename(run / 'straight.pth')
    start(QDORA, 'train', str(run / 'epoch_1.pth'), 'swin', resume=True, **SMALL, **EMA)
    resumed = state(run / 'epoch_2.pth')
    assert resumed.keys() == last.keys()
    for key, value in resumed.items():
        assert torch.equal(value, last[key]), key

    with pytest.raises(UserError, match="with another `peft`; quant: .*'nf4'.* there, .*'fp4'"):
        start(
            {**QDORA, 'quant': dict(bits=4, type='fp4')},
            'train',
            str(run / 'epoch_1.pth'),
            'swin',
            resume=True,
            **SMALL,
            **EMA,
        )


def test_a_random_base_is_refused_because_no_checkpoint_could_restore_it(start):
    with pytest.raises(UserError, match='peft.quant needs a base that a file provides'):
        start({**QDORA, 'allow_random_base': True}, base=None, kind='swin', **SMALL)


@pytest.mark.parametrize('update_buffers', [True, False])
def test_an_average_of_a_quantized_model_moves_with_the_adapter_alone(update_buffers):
    layer = nn.Linear(64, 8)
    model = nn.Sequential(layer, nn.Linear(8, 8), nn.Linear(8, 64), layer)
    inject(
        model,
        dict(method=dict(type='LoRA', r=2), head='adapt', quant=dict(bits=4)),
        weights_follow=True,
    )
    hook = EMAHook()
    hook.src_model = model
    hook.ema_model = ExponentialMovingAverage(model, momentum=0.25, update_buffers=update_buffers)
    for _ in range(2):  # as before training and before every validation
        quantize_loaded(SimpleNamespace(hooks=[hook]), model)
    codes, average = layer.weight.clone(), hook.ema_model.module[0]
    assert average.weight is layer.weight
    assert average.lora_B is not layer.lora_B
    moving, averaged = model[1].lora_B, hook.ema_model.module[1].lora_B
    for value in (0.0, 1.0):
        moving.data.fill_(value)
        hook.ema_model.update_parameters(model)
    assert (averaged == 0.25).all()
    hook._swap_ema_parameters()
    assert (moving == 0.25).all()
    assert (averaged == 1).all()
    assert torch.equal(layer.weight, codes)


def test_an_average_of_a_model_that_augments_at_test_time_shares_the_codes_too():
    layer = nn.Linear(64, 8)
    model = nn.Sequential(layer, nn.Linear(8, 8), nn.Linear(8, 64))
    model.test_step = None
    inject(
        model,
        dict(method=dict(type='LoRA', r=2), head='adapt', quant=dict(bits=4)),
        weights_follow=True,
    )
    hook = EMAHook()
    hook.ema_model = ExponentialMovingAverage(Averaging(model))
    quantize_loaded(SimpleNamespace(hooks=[hook]), model)
    assert hook.ema_model.module.module[0].weight is layer.weight
    assert {*hook.ema_model.avg_parameters} == {
        f'module.{number}.{name}' for number in range(3) for name in ('bias', 'lora_A', 'lora_B')
    }
