"""Single quantized layers, adapted and not, against decoded weights and closed formulas."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.wrappers import Linear as MMCVLinear
from torch import nn

from mmadapt import UserError, inject, merge, remove, unmerge
from mmadapt.meters.step import SavedForBackward
from mmadapt.peft import merged_state_dict
from mmadapt.quantization import QuantizedLinear

QUANTS = dict(
    nf4=dict(bits=4),
    fp4=dict(bits=4, type='fp4'),
    double=dict(bits=4, double_quant=True),
    int8=dict(bits=8),
    fp16=dict(bits=8, has_fp16_weights=True),
)
LORA, DORA, SSF = dict(type='LoRA', r=4), dict(type='DoRA', r=4), dict(type='SSF')
LORA_FA = dict(type='LoRA', r=4, freeze_A=True)


def adapted(method=LORA, quant='nf4', layer=nn.Linear, sizes=(96, 70), train=False, **changes):
    """One quantized layer whose adapter is not the identity, and the weight it was made of."""
    torch.manual_seed(0)
    model = nn.Sequential(layer(*sizes))
    dense = model[0].weight.detach().clone()
    inject(model, dict(method=method, head='adapt', quant={**QUANTS[quant], **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.train(train), dense


def kept_bytes(model, x):
    """Return the bytes that a layer keeps for its backward pass, beside its own tensors."""
    with SavedForBackward(model) as saved:
        y = model(x)
        return y, saved.bytes()


def formula(layer, weight, x, method):
    """What the papers say, from the weight as the bits give it."""
    if method is SSF:
        return (F.linear(x, weight, layer.bias)) * layer.ssf_scale + layer.ssf_shift
    direction = weight + 16 / 4 * layer.lora_B @ layer.lora_A
    if method is DORA:
        norm = direction.detach().norm(dim=1)
        direction = (layer.magnitude / norm)[:, None] * direction
    return F.linear(x, direction, layer.bias)


# Neither of the last two divides into blocks of 64; an odd number of codes does not fill its bytes.
@pytest.mark.parametrize('sizes', [(64, 32), (96, 70), (33, 7)])
@pytest.mark.parametrize('kind', ['nf4', 'fp4'])
def test_four_bits_mean_the_weight_that_decoding_them_one_by_one_gives(
    bitsandbytes, decode, kind, sizes
):
    model, dense = adapted(quant=kind, sizes=sizes)
    layer = model[0]
    weight = decode(layer.weight, layer.weight_absmax, kind, dense.shape)
    torch.testing.assert_close(layer.dense_weight(), weight, rtol=1e-6, atol=1e-7)
    # Half of the widest gap between codes, of the largest weight of a block.
    assert (weight - dense).abs().max() <= 0.17 * dense.abs().max() + 1e-6


def test_eight_bits_mean_integers_times_the_largest_weight_of_a_row(bitsandbytes):
    model, dense = adapted(quant='int8')
    layer, largest = model[0], dense.abs().amax(dim=1)
    assert layer.weight.dtype == torch.int8
    torch.testing.assert_close(
        layer.dense_weight(), layer.weight * largest[:, None] / 127, rtol=1e-3, atol=1e-6
    )
    # A little more than half a step: bitsandbytes rounds numbers of 16 bits.
    assert ((layer.dense_weight() - dense).abs() <= 1.1 * largest[:, None] / 254).all()


def test_scales_in_eight_bits_are_close_to_those_in_thirty_two(bitsandbytes):
    plain, dense = adapted(quant='nf4', sizes=(512, 256))
    double, _ = adapted(quant='double', sizes=(512, 256))
    assert double[0].weight_absmax.dtype == torch.uint8
    errors = [(m[0].dense_weight() - dense).norm() for m in (plain, double)]
    assert errors[0] < errors[1] < 1.05 * errors[0]


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('quant', ['nf4', 'double', 'int8'])
@pytest.mark.parametrize('method', [LORA, DORA, SSF, LORA_FA], ids=['LoRA', 'DoRA', 'SSF', 'FA'])
def test_output_and_gradients_are_those_of_the_formula(bitsandbytes, method, quant, train):
    model, _ = adapted(method, quant, train=train)
    layer, x = model[0], torch.randn(3, 5, 96, requires_grad=True)
    direction = torch.randn(3, 5, 70)
    trained = [p for p in model.parameters() if p.requires_grad]
    ours = model(x)
    wanted = formula(layer, layer.dense_weight(), x, method)
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)
    for a, b in zip(
        torch.autograd.grad(ours, [x, *trained], direction),
        torch.autograd.grad(wanted, [x, *trained], direction),
        strict=True,
    ):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('quant', QUANTS)
@pytest.mark.parametrize('method', [LORA, DORA, SSF], ids=lambda m: m['type'])
def test_the_first_output_is_that_of_the_quantized_base(bitsandbytes, method, quant):
    model = nn.Sequential(nn.Linear(96, 70))
    inject(model, dict(method=method, head='adapt', quant=QUANTS[quant]))
    x = torch.randn(4, 96)
    layer = model[0]
    torch.testing.assert_close(
        model(x), F.linear(x, layer.unpack(torch.float32), layer.bias), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize('layer', [nn.Linear, MMCVLinear])
@pytest.mark.parametrize('quant', QUANTS)
@pytest.mark.parametrize('method', [LORA, DORA, SSF], ids=lambda m: m['type'])
def test_merging_right_after_evaluation_gives_a_dense_stock_layer_and_unmerging_is_exact(
    bitsandbytes, method, quant, layer
):
    model, _ = adapted(method, quant, layer)
    x = torch.randn(64, 96)
    with torch.no_grad():
        wanted = model(x)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = merged_state_dict(model)
    assert list(state) == ['0.weight', '0.bias']
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())

    merge(model)
    assert type(model[0]) is layer
    assert list(model.state_dict()) == list(state)
    assert vars(model[0]).keys() == vars(layer(96, 70)).keys()
    # 16-bit weights are not rounded to 8 bits where they become dense.
    tolerance = 5e-3 if quant == 'fp16' else 1e-5
    torch.testing.assert_close(
        model(x), wanted, rtol=tolerance, atol=tolerance * wanted.abs().max()
    )
    torch.testing.assert_close(model[0].weight, state['0.weight'])

    unmerge(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(before[key], value) for key, value in after.items())
    assert torch.equal(model(x), wanted)


def test_a_weight_of_sixteen_bits_merges_without_the_rounding_to_eight(bitsandbytes):
    model, dense = adapted(SSF, 'fp16')
    scale = model[0].ssf_scale.detach().clone()
    merge(model)
    torch.testing.assert_close(model[0].weight, dense.half().float() * scale[:, None])


def test_removing_leaves_the_dense_layer_that_the_bits_mean(bitsandbytes, decode):
    model, dense = adapted()
    weight = decode(model[0].weight, model[0].weight_absmax, 'nf4', dense.shape)
    remove(model)
    assert type(model[0]) is nn.Linear
    assert list(model.state_dict()) == ['0.weight', '0.bias']
    torch.testing.assert_close(model[0].weight.detach(), weight)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize('quant', QUANTS)
def test_training_on_after_evaluation_continues_from_the_same_base(bitsandbytes, quant):
    model, _ = adapted(quant=quant, sizes=(128, 64), train=True)
    x = torch.randn(8, 128)
    first = model(x)
    with torch.no_grad():
        model.eval()(x)
    assert torch.equal(model.train()(x), first)


@pytest.mark.parametrize('quant', QUANTS)
def test_copies_and_pickles_compute_the_same_and_hold_weights_of_their_own(bitsandbytes, quant):
    model, _ = adapted(DORA, quant)
    x = torch.randn(4, 96)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x), model(x))
        assert other[0].weight.data_ptr() != model[0].weight.data_ptr()
        merge(other)
        assert isinstance(model[0], QuantizedLinear)


def test_dropout_drops_from_what_is_added_alone(bitsandbytes):
    model, _ = adapted(dict(type='LoRA', r=4, dropout=0.5), train=True)
    layer, x = model[0], torch.randn(5, 96)
    torch.manual_seed(3)
    ours = model(x)
    torch.manual_seed(3)
    added = F.dropout(x, 0.5) @ layer.lora_A.T @ layer.lora_B.T * 4
    torch.testing.assert_close(ours, F.linear(x, layer.dense_weight(), layer.bias) + added)


@pytest.mark.parametrize('dropout', [0.0, 0.5])
@pytest.mark.parametrize('quant', ['nf4', 'int8'])
def test_with_a_frozen_a_nothing_is_kept_but_r_channels(bitsandbytes, quant, dropout):
    x = torch.randn(500, 96, requires_grad=True)
    model, _ = adapted(dict(LORA_FA, dropout=dropout), quant, train=True)
    y, kept = kept_bytes(model, x)
    layer, narrow = model[0], 4 * 500 * 4
    assert kept == narrow + layer.lora_B.nbytes
    y.sum().backward()
    assert layer.lora_A.grad is None
    assert layer.lora_B.grad.abs().min() > 0
    assert kept_bytes(adapted(dict(LORA, dropout=dropout), quant, train=True)[0], x)[1] > x.nbytes


def test_with_a_frozen_a_dropout_drops_from_what_is_added_alone(bitsandbytes, monkeypatch):
    model, _ = adapted(dict(LORA_FA, dropout=0.5), train=True)
    layer, x = model[0], torch.randn(5, 96)
    mask = torch.rand(5, 96) > 0.5
    monkeypatch.setattr('mmadapt.adapters.layers.dropout.draw_mask', lambda x, p: (mask, 2.0))
    added = (x * mask * 2) @ layer.lora_A.T @ layer.lora_B.T * 4
    torch.testing.assert_close(model(x), F.linear(x, layer.dense_weight(), layer.bias) + added)
    assert torch.equal(model.eval()(x), model(x))


@pytest.mark.parametrize('quant', ['nf4', 'int8'])
def test_autocast_decides_the_type_of_the_output_as_it_does_for_a_linear(bitsandbytes, quant):
    model, _ = adapted(quant=quant)
    x = torch.randn(4, 96)
    with torch.autocast('cpu', torch.bfloat16):
        output = model(x)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), model(x), rtol=0.05, atol=0.05)


def test_compute_dtype_is_that_of_the_product_with_the_quantized_weight(bitsandbytes):
    model, _ = adapted(compute_dtype='bfloat16')
    layer, x = model[0], torch.randn(4, 96)
    product = F.linear(x.bfloat16(), layer.unpack(torch.bfloat16)).float()
    wanted = product + x @ layer.lora_A.T @ layer.lora_B.T * 4 + layer.bias
    assert model(x).dtype == torch.float32
    torch.testing.assert_close(model(x), wanted)
    assert (product - F.linear(x, layer.dense_weight())).abs().max() > 1e-3


def test_loading_dense_weights_quantizes_them_and_codes_of_elsewhere_are_refused(bitsandbytes):
    model, other = adapted()[0], nn.Sequential(nn.Linear(96, 70))
    fresh = copy.deepcopy(other)
    inject(fresh, dict(method=LORA, head='adapt', quant=QUANTS['nf4']))
    model.load_state_dict({**model.state_dict(), **other.state_dict()}, strict=False)
    assert torch.equal(model[0].dense_weight(), fresh[0].dense_weight())
    assert torch.equal(model[0].bias, other[0].bias)
    model.load_state_dict(model.state_dict())
    with pytest.raises(RuntimeError, match='load the dense checkpoint'):
        adapted()[0].load_state_dict(model.state_dict())


@pytest.mark.parametrize('quant', ['nf4', 'double', 'int8'])
@pytest.mark.parametrize('method', [LORA, DORA, SSF], ids=lambda m: m['type'])
def test_an_adapted_quantized_layer_compiles_without_a_graph_break(bitsandbytes, method, quant):
    torch.compiler.reset()
    model, _ = adapted(method, quant, train=True)
    x = torch.randn(4, 96)
    compiled = torch.compile(model, fullgraph=True, backend='eager')
    torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize(('threshold', 'warned'), [(6.0, False), (3.0, True)])
def test_a_threshold_is_said_to_change_nothing_on_a_cpu(
    bitsandbytes, monkeypatch, threshold, warned
):
    said = []
    for speak in ('say', 'warn'):
        monkeypatch.setattr(f'mmadapt.peft.quantized_base.{speak}', said.append)
    adapted(quant='int8', threshold=threshold)
    assert any('peft.quant.threshold' in text for text in said) is warned
    assert any('1 Linear layers in 8 bits' in text for text in said)


def test_an_empty_batch_passes(bitsandbytes):
    for quant in ('nf4', 'int8'):
        assert adapted(quant=quant)[0](torch.zeros(0, 96)).shape == (0, 70)


def test_an_adapted_weight_is_not_adapted_twice_and_a_third_partys_method_works(bitsandbytes):
    from mmadapt.adapters import ADAPTERS, AdapterMethod

    class Shift(AdapterMethod):
        tensor_names = ('shift',)

        def create(self, weight, bias):
            return dict(shift=nn.Parameter(weight.new_zeros(())))

        def adapt(self, weight, bias, tensors):
            return weight + tensors['shift'], bias

        def arguments(self):
            return {}

    ADAPTERS.register_module(name='Shift', module=Shift)
    try:
        model, _ = adapted(dict(type='Shift'))
        layer, x = model[0], torch.randn(4, 96)
        wanted = F.linear(x, layer.dense_weight() + layer.shift, layer.bias)
        torch.testing.assert_close(model(x), wanted)
        with pytest.raises(UserError, match='adapted already'):
            inject(model, dict(method=LORA))
    finally:
        ADAPTERS.module_dict.pop('Shift')


@pytest.mark.parametrize('method', [LORA, DORA], ids=lambda m: m['type'])
def test_hugging_face_computes_the_same_from_the_same_bits(bitsandbytes, method):
    peft = pytest.importorskip('peft', reason='peft is not installed')
    model, dense = adapted(method, sizes=(128, 64), train=True)  # its kernel is right for these
    theirs = bitsandbytes.nn.Linear4bit(128, 64, quant_type='nf4', compress_statistics=False)
    theirs.weight.data, theirs.bias.data = dense.clone(), model[0].bias.detach().clone()
    theirs = nn.Sequential(theirs.to('cpu'))
    config = peft.LoraConfig(
        r=4, lora_alpha=16, target_modules=['0'], lora_dropout=0.0, use_dora=method is DORA
    )
    theirs = peft.get_peft_model(theirs, config).train()
    layer = theirs.base_model.model[0]
    layer.lora_A['default'].weight.data = model[0].lora_A.detach().clone()
    layer.lora_B['default'].weight.data = model[0].lora_B.detach().clone()
    if method is DORA:
        layer.lora_magnitude_vector['default'].weight.data = model[0].magnitude.detach().clone()
    x = torch.randn(6, 128)
    torch.testing.assert_close(model(x), theirs(x), rtol=1e-5, atol=1e-5)
    model(x).square().sum().backward()
    theirs(x).square().sum().backward()
    torch.testing.assert_close(
        model[0].lora_A.grad, layer.lora_A['default'].weight.grad, rtol=1e-4, atol=1e-4
    )
