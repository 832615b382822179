"""Quantized bases of whole stock detectors."""

import copy
import pickle

import pytest
import torch
from torch import nn

from mmadapt import UserError, inject, load_adapter, merge, save_adapter, unmerge
from mmadapt.files import fingerprint, frozen_tensors, read_adapter
from mmadapt.peft import merged_state_dict
from mmadapt.quantization import QuantizedLinear

SWIN = 'swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py'
MASK_RCNN = 'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'
LORA = dict(type='LoRA', r=4)
# Bytes of the frozen Linear weights against float32, scales included: half of that for each 16-bit
# weight. 4 bits and a scale of 32 for each 64; that scale in 8 bits; 8 bits and a scale a row.
QUANTS = dict(
    four=(dict(bits=4), 0.141),
    double=(dict(bits=4, double_quant=True), 0.1295),
    eight=(dict(bits=8), 0.252),
)


def quantized(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, QuantizedLinear)}


def num_bytes(parameters):
    return sum(p.numel() * p.element_size() for p in parameters)


def outputs(model, x):
    with torch.no_grad():
        return [level for part in model(x, mode='tensor') for level in part]


def largest_difference(ours, wanted):
    return max((a - b).abs().max().item() for a, b in zip(ours, wanted, strict=True))


@pytest.mark.parametrize(
    ('method', 'quant'), [('LoRA', 'double'), ('DoRA', 'four'), ('SSF', 'eight')]
)
def test_swin_learns_on_a_base_of_a_quarter_of_the_bytes_and_merges(
    bitsandbytes, build_detector, method, quant
):
    quant, share = QUANTS[quant]
    stock = build_detector(SWIN, backbone=dict(drop_path_rate=0.0)).eval()
    model = copy.deepcopy(stock)
    dense = {n: m.weight for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    report = inject(model, dict(method=dict(type=method), targets='all-linear', quant=quant))
    layers = quantized(model)
    assert layers.keys() == dense.keys()
    assert len(layers) == 51
    packed = num_bytes(
        layer._parameters[name] for layer in layers.values() for name in layer.packed_names
    )
    assert packed < share * num_bytes(dense.values())
    assert num_bytes(model.backbone.parameters()) < 0.33 * num_bytes(stock.backbone.parameters())
    assert report.total > sum(p.numel() for p in stock.parameters())  # as they were counted before

    torch.manual_seed(0)
    x = torch.randn(2, 3, 64, 64)
    optimizer = torch.optim.Adam([p for p in model.backbone.parameters() if p.requires_grad], 2e-3)
    target, losses = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1), []
    for _ in range(10):
        loss = sum((level - target).square().mean() for level in model.train().extract_feat(x))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0], losses

    wanted = outputs(model.eval(), x)
    state = merged_state_dict(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    other = pickle.loads(pickle.dumps(model))
    merge(model)
    assert [type(m) for m in model.modules()] == [type(m) for m in stock.modules()]
    size = max(level.abs().max().item() for level in wanted)
    assert largest_difference(outputs(model, x), wanted) < 1e-3 * min(size, 1)
    stock.load_state_dict(state, strict=True)
    assert largest_difference(outputs(stock, x), wanted) < 1e-3 * min(size, 1)
    unmerge(model)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    for again in (model, other):
        assert largest_difference(outputs(again, x), wanted) == 0


def test_a_model_without_linear_layers_is_told_what_it_is_made_of(build_detector):
    model = build_detector()
    types = [type(m) for m in model.modules()]
    with pytest.raises(UserError) as error:
        inject(model, dict(method=LORA, quant=dict(bits=4)))
    convs = sum(isinstance(m, nn.Conv2d) for m in model.modules())
    for words in (
        'quantizes Linear layers',
        'in this RTMDet there is none',
        'it has none',
        f'{convs} Conv2d',
        'Remove peft.quant',
    ):
        assert words in str(error.value)
    assert [type(m) for m in model.modules()] == types


def test_what_trains_fully_or_is_skipped_stays_dense(bitsandbytes, build_detector):
    model = build_detector(MASK_RCNN)
    inject(
        model,
        dict(
            method=LORA,
            head=['roi_head.bbox_head.fc_cls'],
            quant=dict(
                bits=8, skip=['backbone.stages.3', dict(type='Linear', name='.*shared_fcs.0')]
            ),
        ),
    )
    names = {name for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    dense = names - quantized(model).keys()
    assert dense == {name for name in names if name.startswith('backbone.stages.3')} | {
        'roi_head.bbox_head.shared_fcs.0',
        'roi_head.bbox_head.fc_cls',
    }
    assert 'roi_head.bbox_head.fc_reg' in quantized(model)


@pytest.mark.parametrize(
    ('quant', 'message'),
    [
        (dict(skip=['backbone.stage9']), "quant.skip: 'backbone.stage9' matches no layer; nearest"),
        (dict(skip=['neck']), "peft.quant.skip: 'neck' means no Linear layer"),
        (dict(skip=['backbone']), 'each of its 51 Linear layers trains fully, shares its weight'),
    ],
)
def test_skip_that_means_nothing_or_leaves_nothing_is_refused(build_detector, quant, message):
    with pytest.raises(UserError, match=message):
        inject(build_detector(SWIN), dict(method=LORA, quant=dict(bits=4, **quant)))


def test_layers_whose_weights_are_read_and_not_called_stay_dense_or_are_refused(bitsandbytes):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2)
            self.tied, self.free = nn.Linear(8, 8), nn.Linear(8, 8)
            self.head = nn.Linear(8, 8)
            self.head.weight = self.tied.weight

    model = Model()
    inject(model, dict(method=LORA, head='adapt', quant=dict(bits=4)))
    assert quantized(model).keys() == {'free'}
    encoder = nn.Sequential(nn.Linear(8, 8), nn.TransformerEncoderLayer(8, 2, 16))
    peft = dict(method=LORA, targets=['0'], head='adapt')
    with pytest.raises(UserError, match='1, a TransformerEncoderLayer, reads the weights of its'):
        inject(encoder, dict(**peft, quant=dict(bits=4)))
    inject(encoder, dict(**peft, quant=dict(bits=4, skip=['1'])))
    assert encoder.eval()(torch.randn(3, 2, 8)).shape == (3, 2, 8)


def test_a_saved_adapter_knows_the_dense_base_and_finds_its_quantized_one(
    bitsandbytes, build_detector, tmp_path
):
    stock = build_detector(SWIN, backbone=dict(depths=(1, 1, 1, 1)))
    model = copy.deepcopy(stock)
    peft = dict(method=dict(type='DoRA', r=4), quant=dict(bits=4, double_quant=True))
    inject(model, peft)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01 * torch.randn_like(parameter))
    save_adapter(model, str(tmp_path / 'adapter'))
    record, _ = read_adapter(str(tmp_path / 'adapter'))
    frozen = {
        key: value
        for key, value in stock.state_dict().items()
        if key in frozen_tensors(model, {n for n, p in model.named_parameters() if p.requires_grad})
    }
    assert record.base.fingerprint == fingerprint(frozen)

    other, x = copy.deepcopy(stock), torch.randn(1, 3, 64, 64)
    load_adapter(other, str(tmp_path / 'adapter'))
    assert len(quantized(other)) == 19
    assert largest_difference(outputs(other.eval(), x), outputs(model.eval(), x)) == 0
    load_adapter(other, str(tmp_path / 'adapter'))  # into one that is quantized already
    assert largest_difference(outputs(other, x), outputs(model, x)) == 0

    wrong = copy.deepcopy(stock)
    with torch.no_grad():
        wrong.backbone.stages[0].blocks[0].attn.w_msa.qkv.weight[0, 0] += 1e-3
    with pytest.raises(UserError, match='was trained on other base weights'):
        load_adapter(wrong, str(tmp_path / 'adapter'))
    inject(wrong, peft)
    with pytest.raises(UserError, match='was trained on other base weights'):
        load_adapter(wrong, str(tmp_path / 'adapter'))
