"""Layers whose weights are read and not called: no adapter is put where it would do nothing."""

import copy

import pytest
import torch
import torch.nn.functional as F
from adapting import adapt, adapter_tensors, perturb
from model_zoo import DETECTORS, Detector, raw_outputs
from torch import nn

from mmadapt import UserError, inject, merge
from mmadapt.peft.read_layers import layers_read

LORA = dict(type='LoRA', r=2)
TOOD = Detector(
    'tood/tood_r50_fpn_1x_coco.py',
    dict(backbone=dict(base_channels=16), neck=dict(in_channels=[64, 128, 256, 512])),
)


class Attention(nn.Module):
    """Computes with its projection as the attentions of Swin V2 and BEiT do."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj, self.shift = nn.Linear(4, 12, bias=False), nn.Linear(4, 4), None

    def _reset_parameters(self):
        nn.init.zeros_(self.proj.weight)

    def forward(self, x):
        x = x.to(self.proj.weight.dtype) if self.proj.bias is not None else x
        q, k, v = F.linear(x, weight=self.qkv.weight, bias=self.shift).chunk(3, dim=-1)
        return self.proj(F.scaled_dot_product_attention(q, k, v))


class Derived(Attention):
    """Inherits how it computes."""


class Calling(Attention):
    """Computes otherwise than what it inherits from."""

    def forward(self, x):
        return self.proj(self.qkv(x)[..., :4])


@pytest.mark.parametrize(
    ('kind', 'found'),
    [(Attention, ['qkv']), (Derived, ['qkv']), (Calling, []), (nn.MultiheadAttention, [])],
)
def test_what_computes_with_a_weight_is_told_from_what_looks_at_it(kind, found):
    model = kind(4, 2) if kind is nn.MultiheadAttention else kind()
    assert layers_read(model) == {getattr(model, name): kind.__name__ for name in found}


def test_auto_leaves_such_a_layer_frozen_and_says_so():
    model = nn.Sequential(Attention(), Attention())
    report = inject(model, dict(method=LORA))
    why = {layer.name: (layer.action, layer.why) for layer in report.layers}
    assert why['0.qkv'] == why['1.qkv'] == ('freeze', 'read by Attention, not called')
    assert why['0.proj'][0] == 'adapt'
    warnings = [line for line in report.warnings if 'reads the weights' in line]
    assert warnings == [
        'WARNING: Attention reads the weights of such layers as 0.qkv without '
        'calling them, where an adapter would do nothing: they stay frozen'
    ]


def test_naming_it_is_an_error():
    with pytest.raises(UserError, match="'qkv' means only layers whose weights Attention reads"):
        inject(Attention(), dict(method=LORA, targets=['qkv']))
    model = Attention()
    inject(model, dict(method=None, targets=['qkv']))
    assert model.qkv.weight.requires_grad


def test_the_convolution_that_tood_reads_is_left_out_and_the_rest_merges():
    stock = TOOD.build()
    model = adapt(stock, 'LoRA', head='adapt', targets='all').double()
    stock = copy.deepcopy(stock).double()
    perturb(model)
    names = {name.rpartition('.')[0] for name in adapter_tensors(model)}
    assert {
        'bbox_head.cls_decomp.reduction_conv.conv',
        'bbox_head.reg_decomp.reduction_conv.conv',
        'bbox_head.tood_cls',
    } & names == {'bbox_head.tood_cls'}
    with torch.no_grad():
        wanted, base = raw_outputs(model), raw_outputs(stock)
        merge(model)
        for found, expected, start in zip(raw_outputs(model), wanted, base, strict=True):
            torch.testing.assert_close(found, expected)
            assert not torch.allclose(start, expected)


def test_an_embedding_that_is_only_read_cannot_be_named_one_that_is_called_can():
    detr, dino = (DETECTORS[name].build() for name in ('DETR', 'DINO'))
    with pytest.raises(UserError, match='layers whose weights DETR reads without calling'):
        inject(detr, dict(method=LORA, targets=['query_embedding']))
    inject(dino, dict(method=LORA, targets=['label_embedding']))
    assert dino.dn_query_generator.label_embedding.adapter_names


class Looking(Attention):
    """Looks at its projection as T5's feed-forward does, and reads it where a config says so."""

    slices = 1

    def forward(self, x):
        if isinstance(self.proj.weight, torch.Tensor) and self.proj.weight.dtype != torch.int8:
            x = x.to(self.proj.weight.dtype)
        if self.slices > 1 and x.dim() > 1:
            return F.linear(x, self.qkv.weight)
        return self.proj(self.qkv(x)[..., :4])


def test_asking_for_its_class_reads_no_weight():
    assert layers_read(Looking()) == {}


def test_a_branch_that_a_number_of_the_model_closes_reads_no_weight():
    model = Looking()
    model.slices = 2
    assert layers_read(model) == {model.qkv: 'Looking'}


@pytest.mark.parametrize(
    ('name', 'targets', 'adapted'), [('T5', 'auto', 32), ('T5', ['wo'], 4), ('BLOOM', 'auto', 8)]
)
def test_layers_of_real_text_models_that_are_called_are_adapted(name, targets, adapted):
    from text_models import text_model

    model = text_model(name, 'Seq2SeqLM' if name == 'T5' else 'CausalLM')
    report = inject(model, dict(method=LORA, targets=targets, head='adapt'))
    assert sum(layer.action == 'adapt' for layer in report.layers) == adapted
    assert not [line for line in report.warnings if 'reads the weights' in line]
