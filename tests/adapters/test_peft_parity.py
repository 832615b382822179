"""LoRA and DoRA against Hugging Face's PEFT, on what that handles: outputs, gradients, merging."""

import copy

import pytest
import torch
from torch import nn

from mmadapt.adapters import DoRA, LoRA, adapt_layer, adapted_class

peft = pytest.importorskip('peft', reason='peft, the reference, is not installed')

R, ALPHA = 4, 6
MAP = (2, 8, 9, 10)
LAYERS = {
    'linear': (lambda: nn.Linear(8, 6), (2, 5, 8)),
    'linear, no bias': (lambda: nn.Linear(8, 6, bias=False), (7, 8)),
    'conv': (lambda: nn.Conv2d(8, 6, 3, padding=1), MAP),
    'conv, strided': (lambda: nn.Conv2d(8, 6, 3, stride=2, bias=False), MAP),
    'conv, 1x1': (lambda: nn.Conv2d(8, 12, 1), MAP),
    'conv, rectangular': (lambda: nn.Conv2d(8, 6, (1, 5), padding=(0, 2)), MAP),
    'conv, 1d': (lambda: nn.Conv1d(8, 6, 3), (2, 8, 9)),
    'conv, 3d': (lambda: nn.Conv3d(4, 6, 2), (2, 4, 5, 4, 3)),
    'embedding': (lambda: nn.Embedding(8, 6), None),
}
METHODS = {
    'LoRA': (LoRA, {}, {}),
    'DoRA': (DoRA, {}, dict(use_dora=True)),
    'rsLoRA': (LoRA, dict(rslora=True), dict(use_rslora=True)),
    'DoRA, rsLoRA': (DoRA, dict(rslora=True), dict(use_dora=True, use_rslora=True)),
    'LoRA-FA': (LoRA, dict(freeze_A=True), {}),
    'DoRA-FA': (DoRA, dict(freeze_A=True), dict(use_dora=True)),
    'factored LoRA': (LoRA, dict(compute='factored'), {}),
    'factored DoRA': (DoRA, dict(compute='factored'), dict(use_dora=True)),
}


def build(layer, method):
    """Return our layer, theirs, and pairs of the same tensor of both, of equal random values."""
    torch.manual_seed(0)
    stock, shape = LAYERS[layer][0]().requires_grad_(False), LAYERS[layer][1]
    x = torch.randint(8, (2, 7)) if shape is None else torch.randn(shape)
    cls, arguments, options = METHODS[method]
    ours = copy.deepcopy(stock)
    adapt_layer(ours, adapted_class(ours), cls(r=R, alpha=ALPHA, **arguments))
    theirs = peft.get_peft_model(
        nn.Sequential(stock),
        peft.LoraConfig(r=R, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=['0'], **options),
    )
    inner = theirs.base_model.model[0]
    # Their names of the same.
    if layer == 'embedding':
        other = [inner.lora_embedding_A['default'], inner.lora_embedding_B['default']]
    else:
        other = [inner.lora_A['default'].weight, inner.lora_B['default'].weight]
    if 'DoRA' in method:
        other.append(inner.lora_magnitude_vector['default'].weight)
    pairs = list(zip((getattr(ours, name) for name in ours.adapter_names), other, strict=True))
    with torch.no_grad():
        for own, their in pairs:
            own.add_(torch.randn_like(own), alpha=0.3)
            their.copy_(own.view(their.shape))
            their.requires_grad_(own.requires_grad)
    return ours.train(), theirs.train(), pairs, x


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('layer', LAYERS)
def test_output_gradients_and_merged_weight_are_those_of_hugging_faces_peft(layer, method):
    ours, theirs, pairs, x = build(layer, method)
    output, other = ours(x), theirs(x)
    torch.testing.assert_close(output, other, rtol=1e-5, atol=1e-5)
    weights = torch.randn_like(output)
    (output * weights).sum().backward()
    (other * weights).sum().backward()
    for own, their in pairs:
        if not own.requires_grad:
            assert own is ours.lora_A
            assert own.grad is None
            continue
        torch.testing.assert_close(own.grad, their.grad.view(own.shape), rtol=1e-5, atol=3e-5)
    ours.merge_adapter()
    torch.testing.assert_close(
        ours.weight, theirs.merge_and_unload()[0].weight, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize('init', ['pissa', 'olora'])
def test_what_starts_from_the_weight_trains_as_it_does_there(init):
    torch.manual_seed(0)
    stock, x = nn.Linear(8, 6), torch.randn(5, 8)
    ours = copy.deepcopy(stock)
    adapt_layer(ours, adapted_class(ours), LoRA(r=R, alpha=ALPHA, init=init))
    theirs = peft.get_peft_model(
        nn.Sequential(stock),
        peft.LoraConfig(r=R, lora_alpha=ALPHA, target_modules=['0'], init_lora_weights=init),
    )
    inner = theirs.base_model.model[0]
    a, b = inner.lora_A['default'].weight, inner.lora_B['default'].weight
    with torch.no_grad():
        torch.testing.assert_close(ours.lora_B @ ours.lora_A, b @ a, rtol=1e-5, atol=1e-5)
        # The sign of a component is free.
        for own, their in ((ours.lora_A, a), (ours.lora_B, b)):
            torch.testing.assert_close(own.abs(), their.abs(), rtol=1e-4, atol=1e-4)
        signs = torch.sign((ours.lora_A * a).sum(1))
        change_a, change_b = torch.randn_like(a) * 0.3, torch.randn_like(b) * 0.3
        a.add_(change_a)
        b.add_(change_b)
        ours.lora_A.add_(change_a * signs[:, None])
        ours.lora_B.add_(change_b * signs)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
