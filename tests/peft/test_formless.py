"""What a method has no form for is named where it is much of a model, and only there."""

import copy

import pytest
import torch
from model_zoo import DETECTORS
from text_models import text_model
from torch import nn

from mmadapt import inject
from mmadapt.adapters import AdapterLayer

LORA = dict(type='LoRA', r=1)


class Experts(nn.Module):
    """Several linear layers as one parameter, as mixtures of experts have them."""

    def __init__(self):
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.randn(2, 8, 16))

    def forward(self, x):
        return x @ self.gate_up_proj[0] + x @ self.gate_up_proj[1]


class OwnLinear(nn.Linear):
    """Computes something else than its base."""

    def forward(self, x):
        return super().forward(x).tanh()


class Tables(nn.Module):
    """Has large parameters that nothing is multiplied with."""

    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, 50, 8))
        self.cls_token, self.gamma = nn.Parameter(torch.zeros(1, 1, 8)), nn.Parameter(torch.ones(8))


def warnings_of(model, **peft):
    report = inject(model, dict(method=LORA, head='adapt') | peft)
    return [line for line in report.warnings if 'no form' in line]


@pytest.mark.parametrize('targets', ['auto', 'all', 'all-linear'])
@pytest.mark.parametrize(
    ('odd', 'said'),
    [
        (Experts, '1 Experts (78.0'),
        (lambda: nn.LSTM(8, 8), '1 LSTM (79.0'),
        (lambda: OwnLinear(8, 8), '1 OwnLinear (44.4'),
    ],
)
def test_weights_without_a_form_are_named_in_one_line(odd, said, targets):
    (line,) = warnings_of(nn.Sequential(nn.Linear(8, 8), odd()), targets=targets)
    assert line.startswith(f'WARNING: LoRA has no form for {said}')
    assert line.endswith(' % of all parameters): they stay frozen')


@pytest.mark.parametrize(
    'odd',
    [
        Tables,
        lambda: nn.Embedding(90, 8),
        lambda: nn.LayerNorm(8),
        lambda: nn.MultiheadAttention(8, 2),
    ],
)
def test_tables_norms_and_what_is_adapted_as_a_whole_are_not(odd):
    assert warnings_of(nn.Sequential(nn.Linear(8, 8), odd())) == []


def test_little_beside_much_is_not():
    assert warnings_of(nn.Sequential(nn.Linear(200, 200), OwnLinear(8, 8))) == []


def test_what_is_excluded_or_not_targeted_by_name_is_not():
    for peft in (dict(exclude=['1']), dict(targets=['0'])):
        assert warnings_of(nn.Sequential(nn.Linear(8, 8), Experts()), **peft) == []


@pytest.mark.parametrize('name', ['Granite MoE', 'Mixtral'])
def test_experts_of_real_models_are_adapted_or_named(name):
    model = text_model(name)
    lines = warnings_of(model)
    adapted = [key for key, m in model.named_modules() if isinstance(m, AdapterLayer)]
    is_fused = not any('experts' in key for key in adapted)
    assert len(lines) == is_fused
    assert is_fused or name == 'Mixtral'
    assert all('Experts (' in line for line in lines)


@pytest.mark.parametrize('name', ['RTMDet', 'DETR', 'DINO'])
def test_nothing_of_a_stock_detector_is(name):
    model = DETECTORS[name].build()
    for method in (LORA, dict(type='SSF')):
        report = inject(copy.deepcopy(model), dict(method=method))
        assert not [line for line in report.warnings if 'no form' in line]
