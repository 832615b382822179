"""LoRA's arguments and tensors; what it computes is in ``test_zoo.py``."""

import pytest
import torch
from torch import nn

from mmadapt import UserError
from mmadapt.adapters import LoRA, adapt_layer, adapted_class, build_method


def adapt(layer, **arguments):
    adapt_layer(layer, adapted_class(layer), LoRA(**arguments))
    return layer


@pytest.mark.parametrize(
    ('layer', 'a', 'b'),
    [
        (lambda: nn.Linear(8, 6), (3, 8), (6, 3)),
        (lambda: nn.Conv2d(8, 6, (3, 5), groups=2), (3, 4, 3, 5), (6, 3, 1, 1)),
        (lambda: nn.Conv1d(8, 8, 3, groups=8), (3, 1, 3), (8, 3, 1)),
        (lambda: nn.ConvTranspose2d(8, 6, 3, groups=2), (3, 4, 3, 3), (6, 3, 1, 1)),
        (lambda: nn.Embedding(7, 6), (3, 7), (6, 3)),
    ],
)
def test_its_factors_are_a_layer_to_r_channels_and_a_1x1_layer_behind_it(layer, a, b):
    adapted = adapt(layer(), r=3)
    assert adapted.adapter_names == ('lora_A', 'lora_B')
    assert (adapted.lora_A.shape, adapted.lora_B.shape) == (a, b)


def test_the_rank_is_what_was_asked_for_also_beyond_that_of_the_weight():
    layer = adapt(nn.Conv2d(3, 4, 1), r=32, alpha=16)
    assert layer.lora_A.shape == (32, 3, 1, 1)
    assert layer.lora_B.shape == (4, 32, 1, 1)
    assert layer.adapter.scale == 0.5


@pytest.mark.parametrize('kind', ['linear', 'conv'])
def test_dropout_keeps_the_mean_and_leaves_the_stock_output_alone(kind):
    torch.manual_seed(0)
    layer, x = (
        (nn.Linear(8, 6), torch.randn(5, 8))
        if kind == 'linear'
        else (nn.Conv2d(8, 12, 3, groups=2), torch.randn(2, 8, 5, 5))
    )
    adapt(layer, r=3, dropout=0.5)
    with torch.no_grad():
        layer.lora_B.normal_()
        outputs = torch.stack([layer.train()(x) for _ in range(400)])
        torch.testing.assert_close(
            outputs.mean(0), layer.eval()(x), rtol=0, atol=5 * outputs.std(0).max().item() / 20
        )
        mean = layer(x)
        layer.lora_B.zero_()
        assert torch.equal(layer.train()(x), layer.eval()(x))
    # Half of the elements twice as large: the variance is that of the sum over the elements.
    assert outputs.std(0).mean() > 0.3 * (mean - layer(x)).std()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(r=0), 'peft.method.r must be an integer of at least 1, got 0'),
        (dict(r=-2), 'peft.method.r .* got -2'),
        (dict(r=2.0), 'peft.method.r .* got 2.0'),
        (dict(r=True), 'peft.method.r .* got True'),
        (dict(r='8'), "peft.method.r .* got '8'"),
        (dict(alpha=0), 'peft.method.alpha must be a positive number, got 0'),
        (dict(alpha=-1), 'peft.method.alpha .* got -1'),
        (dict(alpha='16'), "peft.method.alpha .* got '16'"),
        (dict(alpha=float('nan')), 'peft.method.alpha .* got nan'),
        (dict(alpha=float('inf')), 'peft.method.alpha .* got inf'),
        (dict(dropout=1), r'peft.method.dropout must be in \[0, 1\), got 1'),
        (dict(dropout=-0.1), 'peft.method.dropout .* got -0.1'),
        (dict(dropout='0.1'), "peft.method.dropout .* got '0.1'"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(arguments, message):
    with pytest.raises(UserError, match=message):
        LoRA(**arguments)


def test_a_method_is_built_again_from_its_own_description():
    method = build_method(LoRA(r=5, alpha=7.5, dropout=0.2).to_dict())
    assert (method.r, method.alpha, method.dropout) == (5, 7.5, 0.2)
