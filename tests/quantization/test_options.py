"""The ``peft.quant`` key: what it means, and what is said of what is wrong."""

import sys

import pytest
from torch import nn

from mmadapt import UserError, inject
from mmadapt.peft import PEFTConfig
from mmadapt.quantization import EightBit, FourBit, parse_quant, quant_to_dict

# The tables of options that users of nyuntam know, under their names here.
FOUR = dict(bits=4, type='fp4', compute_dtype='bfloat16', double_quant=True, skip=['a'])
EIGHT = dict(bits=8, threshold=4.0, has_fp16_weights=True, skip=['a'])


@pytest.mark.parametrize(
    ('cfg', 'options'),
    [
        (FOUR, FourBit('fp4', 'bfloat16', True, ['a'])),
        (dict(bits=4), FourBit('nf4', None, False)),
        (EIGHT, EightBit(4.0, True, ['a'])),
        (dict(bits=8), EightBit(6.0, False, [])),
    ],
)
def test_every_option_and_its_default_is_read_and_written_back(cfg, options):
    assert parse_quant(cfg) == options
    assert quant_to_dict(options) == {**quant_to_dict(parse_quant(dict(bits=cfg['bits']))), **cfg}


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        ('nf4', r"peft.quant must be a dict such as dict\(bits=4, type='nf4'\) or None, got 'nf4'"),
        ({}, r'peft.quant.bits=None is not one of \[4, 8\]$'),
        (dict(bits=3), r'peft.quant.bits=3 is not one of \[4, 8\]$'),
        (dict(bits=4, type='nf5'), "peft.quant.type='nf5' is not one of .*; nearest: 'nf4'"),
        (dict(bits=4, compute_dtype='bf16'), "compute_dtype='bf16' is not one of .*: 'bfloat16'"),
        (dict(bits=4, double_quant=1), 'peft.quant.double_quant must be True or False, got 1'),
        (
            dict(bits=4, threshold=6),
            "no key 'threshold' for bits=4; .* all: .'type', 'compute_dtype'",
        ),
        (dict(bits=8, typ='nf4'), "peft.quant has no key 'typ' for bits=8"),
        (dict(bits=8, threshold=-1), 'peft.quant.threshold must be a number of at least 0, got -1'),
        (dict(bits=8, has_fp16_weights='no'), "has_fp16_weights must be True or False, got 'no'"),
        (dict(bits=8, skip='head'), "peft.quant.skip takes a list of names.*got 'head'"),
        (dict(bits=8, cpu_offload=True), 'cpu_offload: .*one device.*named in peft.quant.skip'),
        (dict(bits=8, llm_int8_enable_fp32_cpu_offload=True), 'one device'),
        (dict(load_in_4bit=True), 'peft.quant.load_in_4bit is written peft.quant.bits=4 here'),
        (dict(bits=4, bnb_4bit_quant_type='nf4'), 'is written peft.quant.type here'),
    ],
)
def test_what_is_wrong_is_refused_with_the_reason_and_the_remedy(cfg, message):
    with pytest.raises(UserError, match=message):
        PEFTConfig.parse(dict(method=dict(type='LoRA'), quant=cfg))


def test_a_model_is_what_it_was_after_it_was_told_that_bitsandbytes_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'bitsandbytes', None)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    with pytest.raises(UserError, match=': mmadapt install quant'):
        inject(model, dict(method=dict(type='LoRA'), quant=dict(bits=4)))
    assert [type(layer) for layer in model] == [nn.Linear, nn.Linear]
    assert all(p.requires_grad for p in model.parameters())
    assert model.training
