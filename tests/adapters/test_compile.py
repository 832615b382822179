"""``torch.compile`` follows adapted layers without a graph break where it follows stock ones."""

import copy

import pytest
import torch
from layer_zoo import KINDS, NORMS, call

from mmadapt.adapters import SSF, DoRA, LoRA, adapt_layer, adapted_class
from mmadapt.norms import freeze_statistics

# One of each way to compute; the others differ in arguments of the same call. Deformable
# convolutions are not among them: torch does not know the operators of the stock ones.
NAMES = (
    'linear',
    'embedding, padding',
    'conv reflect, grouped',
    'conv same, dilated',
    'conv 1d',
    'conv 3d',
    'transposed output size',
    'adaptive padding',
    'WS',
    'AWS',
    'attention self',
    'attention masked',
    'attention separate',
    'ScaledStdConvSame',
    'BatchNorm2d',
    'LayerNorm',
    'GroupNorm',
)
CASES = [
    (name, method)
    for name in NAMES
    for method in (('SSF',) if name in NORMS else ('LoRA', 'DoRA', 'SSF'))
]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    """Adapted layers share code, and how often one code object is compiled anew has a limit."""
    torch._dynamo.reset()


def build(name, method, **arguments):
    kind = KINDS[name]
    layer, args = kind.make()
    arguments = {} if method is SSF else dict(r=4, alpha=6, **arguments)
    adapt_layer(layer, adapted_class(layer), method(**kind.options, **arguments))
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in layer.adapter_names:
            getattr(layer, tensor).add_(torch.randn_like(getattr(layer, tensor)), alpha=0.3)
    return kind, layer, args


def assert_compiles(kind, layer, args, backend='eager'):
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True, backend=backend)
    torch.testing.assert_close(
        call(compiled, args, kind), call(layer, args, kind), rtol=1e-5, atol=1e-5
    )
    return compiled


@pytest.mark.parametrize(('name', 'method'), CASES)
def test_an_adapted_layer_compiles_without_a_graph_break(name, method):
    kind, layer, args = build(name, dict(LoRA=LoRA, DoRA=DoRA, SSF=SSF)[method])
    # Only these look at the mode.
    for training in (True, False) if name.startswith(('attention', 'BatchNorm')) else (True,):
        assert_compiles(kind, layer.train(training), args)


@pytest.mark.parametrize('method', [LoRA, DoRA])
@pytest.mark.parametrize(
    'name', ['linear', 'conv grouped', 'transposed grouped', 'WS', 'attention self']
)
def test_a_layer_with_dropout_compiles_without_a_graph_break(name, method):
    kind, layer, args = build(name, method, dropout=0.3)
    compiled = torch.compile(layer.train(), fullgraph=True, backend='eager')
    assert call(compiled, args, kind).isfinite().all()
    assert_compiles(kind, layer.eval(), args)


@pytest.mark.parametrize('compute', ['factored', 'merged'])
@pytest.mark.parametrize('name', ['linear', 'conv grouped', 'embedding'])
def test_both_ways_to_compute_compile_without_a_graph_break(name, compute):
    assert_compiles(*build(name, DoRA, compute=compute))


def test_an_adapted_norm_of_frozen_statistics_compiles_without_a_graph_break():
    kind = KINDS['BatchNorm2d']
    layer, args = kind.make()
    freeze_statistics(layer, 'norm')
    adapt_layer(layer, adapted_class(layer), SSF())
    assert_compiles(kind, layer.train(), args)


@pytest.mark.parametrize(('name', 'method'), [('conv grouped', DoRA), ('attention self', LoRA)])
def test_compiled_gradients_are_the_same(name, method):
    kind, layer, args = build(name, method)
    compiled = assert_compiles(kind, layer.train(), args, 'aot_eager')
    for module in (layer, compiled):
        output = call(module, args, kind)
        (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    for name in layer.adapter_names:
        torch.testing.assert_close(
            getattr(compiled, name).grad, getattr(layer, name).grad, rtol=1e-4, atol=1e-4
        )


def test_a_change_of_the_weights_shows_in_what_was_compiled():
    kind, layer, args = build('linear', LoRA)
    compiled = assert_compiles(kind, layer, args)
    before = call(compiled, args, kind)
    with torch.no_grad():
        compiled.lora_B.zero_()
    assert not torch.equal(call(compiled, args, kind), before)
