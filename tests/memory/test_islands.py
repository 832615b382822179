"""Modules that compute in float32 under autocast, whoever calls them and whatever wraps them."""

import copy
import pickle
from collections import namedtuple

import pytest
import torch
from mmengine.structures import InstanceData
from torch import nn

from mmadapt import UserError, inject, remove
from mmadapt.memory.checkpointing import recompute
from mmadapt.memory.islands import keep_float32

LOW = [torch.bfloat16, torch.float16]
Pair = namedtuple('Pair', 'left right')


class Head(nn.Module):
    """Called by its methods, and its branch by others."""

    def __init__(self):
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 4))

    def forward(self, x):
        return self.branch(x)

    def loss(self, x, target):
        # einsum and matmul are what autocast computes in a low precision.
        return torch.einsum('nc,nc->n', self(x) - target, self(x)).mean()

    def predict(self, x):
        return self(x) @ self(x).T


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 8))
        self.head = Head()

    def forward(self, x, target):
        maps = self.body(x)
        refined = self.head.branch(maps)
        return self.head.loss(maps, target=target) + refined.square().mean()


X = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
MAPS = torch.randn(5, 8, generator=torch.Generator().manual_seed(2))
TARGET = torch.randn(5, 4, generator=torch.Generator().manual_seed(3))


def gradients(model, call):
    model.zero_grad()
    call().float().sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize('dtype', LOW)
@pytest.mark.parametrize('entry', ['__call__', 'predict', 'loss', 'branch'])
def test_an_island_computes_under_autocast_what_it_computes_in_float32(dtype, entry):
    plain, model = Head(), Model()
    plain.load_state_dict(model.head.state_dict())
    keep_float32(model, ['head'])
    arguments = (MAPS.to(dtype), TARGET.to(dtype))[: 2 if entry == 'loss' else 1]

    def computed():
        with torch.autocast('cpu', dtype):
            return getattr(model.head, entry)(*arguments)

    def wanted():
        return getattr(plain, entry)(*(a.float() for a in arguments))

    right = wanted()
    assert computed().dtype == torch.float32
    assert torch.equal(computed(), right)
    ours, theirs = gradients(model.head, computed), gradients(plain, wanted)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with torch.autocast('cpu', dtype):
        low = getattr(plain, entry)(*arguments)
    assert not torch.equal(low.float(), right), 'this model cannot tell float32 from less'


def test_what_is_no_island_stays_in_low_precision():
    model = Model()
    keep_float32(model, ['head'])
    with torch.autocast('cpu', torch.bfloat16):
        assert model.body(X).dtype == torch.bfloat16


def test_without_autocast_nothing_changes():
    model, plain = Model(), Model()
    keep_float32(model, ['head', 'Linear'])
    assert torch.equal(model(X, TARGET), plain(X, TARGET))
    model, plain = model.double(), plain.double()
    assert torch.equal(model(X.double(), TARGET.double()), plain(X.double(), TARGET.double()))
    echo, low = nn.Sequential(Echo()), X.bfloat16()
    keep_float32(echo, ['Echo'])
    assert echo[0](low)[0][0] is low


class Echo(nn.Module):
    def forward(self, *args, **kwargs):
        return args, kwargs, torch.is_autocast_enabled('cpu')


def test_tensors_at_any_depth_are_cast_and_nothing_else_is():
    low, labels = torch.ones(2).bfloat16(), torch.arange(2)
    results = InstanceData(metainfo=dict(img_id=3), scores=low.half(), labels=labels)
    untouched = dict(
        boxes=[torch.ones(2), labels],
        double=torch.ones(2).double(),
        flag=True,
        nothing=None,
        name='bbox',
        element=InstanceData(labels=labels),
    )
    model = nn.ModuleDict(dict(echo=Echo()))
    keep_float32(model, ['echo'])
    with torch.autocast('cpu', torch.bfloat16):
        args, kwargs, autocast = model['echo'](
            low, [low, (labels, Pair(low, 1))], results=results, untouched=untouched
        )
    assert not autocast
    assert args[0].dtype == args[1][0].dtype == args[1][1][1].left.dtype == torch.float32
    assert args[1][1][0] is labels
    assert type(args[1][1][1]) is Pair
    assert kwargs['results'].scores.dtype == torch.float32
    assert kwargs['results'].labels is labels
    assert kwargs['results'].img_id == 3
    assert results.scores.dtype == torch.float16  # the caller's own stays
    assert kwargs['untouched'] is untouched


class Branches(nn.ModuleList):
    def loss(self, x):
        return self[0](x).square()


@pytest.mark.parametrize(
    ('kind', 'entered'),
    [(nn.ModuleList, set()), (nn.Sequential, {'forward'}), (Branches, {'loss'})],
)
def test_of_a_list_not_what_changes_it_but_what_computes_is_entered(kind, entered):
    model = nn.ModuleDict(
        dict(
            branches=kind([nn.Linear(8, 4)]) if kind is not nn.Sequential else kind(nn.Linear(8, 4))
        )
    )
    keep_float32(model, ['branches'])
    assert {name for name, value in vars(model['branches']).items() if callable(value)} == entered
    with torch.autocast('cpu', torch.bfloat16):
        assert model['branches'][0](MAPS).dtype == torch.float32


def test_an_exception_inside_leaves_autocast_as_it_was():
    model = Model()
    keep_float32(model, ['head'])
    with torch.autocast('cpu', torch.bfloat16):
        with pytest.raises(RuntimeError):
            model.head(torch.ones(2, 3))
        assert torch.is_autocast_enabled('cpu')
        assert model.body(X).dtype == torch.bfloat16


def test_keys_names_and_classes_stay():
    model, plain = Model(), Model()
    assert keep_float32(model, ['head', 'GELU']) == ['body.1', 'head', 'head.branch.1']
    assert list(model.state_dict()) == list(plain.state_dict())
    assert [n for n, _ in model.named_modules()] == [n for n, _ in plain.named_modules()]
    assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]


@pytest.mark.parametrize('clone', [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize('recomputed', [False, True])
def test_a_copy_is_an_island_of_its_own(clone, recomputed):
    model = Model()
    keep_float32(model, ['head'])
    if recomputed:
        recompute(model.head.branch)
    other = clone(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    plain = Model()
    plain.load_state_dict(other.state_dict())
    with torch.autocast('cpu', torch.bfloat16):
        ours = other.head.predict(MAPS)
        own = gradients(other, lambda: other.head(MAPS))
    assert torch.equal(ours, plain.head.predict(MAPS))
    assert own.keys() == {f'head.branch.{i}.{kind}' for i in (0, 2) for kind in ('weight', 'bias')}
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize('first', [keep_float32, recompute])
@pytest.mark.parametrize('block', ['head', 'head.branch', 'head.branch.0', ''])
def test_recomputing_an_island_or_what_it_is_in_computes_in_float32_again(first, block):
    wanted, model, kinds = Model(), Model(), []
    keep_float32(wanted, ['head'])
    block = model.get_submodule(block)
    if first is recompute:
        recompute(block)
    keep_float32(model, ['head'])
    if first is keep_float32:
        recompute(block)
    model.head.branch[0].register_forward_hook(lambda m, a, out: kinds.append(out.dtype))

    def loss_of(model):
        def loss():
            with torch.autocast('cpu', torch.bfloat16):
                return model(X, TARGET)

        return loss

    ours, theirs = gradients(model, loss_of(model)), gradients(wanted, loss_of(wanted))
    assert len(ours) == len(theirs) == 8
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    # Thrice in the first pass, and again in the second one unless a method was called.
    assert len(kinds) >= (4 if block is not model.head.branch[0] else 3)
    assert set(kinds) == {torch.float32}


@pytest.mark.parametrize('adapters_first', [True, False])
def test_an_adapter_in_an_island_computes_in_float32(adapters_first):
    peft = dict(method=dict(type='LoRA', r=2), targets='all-linear', head='adapt')
    adapted, model = Model(), Model()
    inject(adapted, peft)
    if adapters_first:
        inject(model, peft)
    keep_float32(model, ['head'])
    if not adapters_first:
        inject(model, peft)
    for m in (adapted, model):
        torch.manual_seed(4)
        for name, p in m.named_parameters():
            if 'lora_' in name:
                nn.init.normal_(p)
    with torch.autocast('cpu', torch.bfloat16):
        ours = model.head(MAPS)
    assert torch.equal(ours, adapted.head(MAPS))
    assert not torch.equal(ours, Model().head(MAPS))
    remove(model)
    with torch.autocast('cpu', torch.bfloat16):
        ours = model.head(MAPS)
    assert torch.equal(ours, Model().head(MAPS))


def test_a_compiled_model_has_islands():
    model = Model()
    keep_float32(model, ['head'])
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(compiled(X, TARGET), model(X, TARGET))


def test_parameters_of_low_precision_are_refused_rather_than_computed_with():
    model = Model()
    keep_float32(model, ['head'])
    model.half()
    with pytest.raises(
        UserError,
        match='memory.fp32_modules: the weight of a Linear .* is float16; .*--amp.*torch_autocast',
    ):
        model.head(MAPS.half())


def test_a_pattern_that_means_nothing_is_refused_before_anything_is_done():
    model = Model()
    with pytest.raises(UserError, match="memory.fp32_modules: 'haed' .* nearest: 'head'"):
        keep_float32(model, ['body', 'haed'])
    assert 'forward' not in vars(model.body)
