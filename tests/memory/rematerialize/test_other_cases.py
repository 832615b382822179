"""Code that is unusual and right: a step of it is the same, bit by bit, when it is watched."""

import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_again import Function, Truth, both, step
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmadapt import UserError
from mmadapt.memory.rematerialize import Rematerialization, compiled_parts


@pytest.fixture(autouse=True)
def truth(monkeypatch):
    """Compare all that is made again with what was saved."""
    return Truth(monkeypatch)


def model(forward, x=(4, 8, 16, 16), **layers):
    """Return a model that computes a loss of an input of its own by a function."""
    torch.manual_seed(0)
    made = Function(forward, **layers)
    made.register_buffer('x', torch.randn(x))
    return made


def convs(forward, **more):
    two = {f'conv{n}': nn.Conv2d(8, 8, 3, padding=1) for n in range(2)}
    return model(forward, **two, **more)


def weight(model, *size, name='w'):
    model.register_parameter(name, nn.Parameter(torch.randn(size)))
    return model


def test_the_transposed_copy_of_a_weight_is_not_the_weight(truth):
    """Of a square Linear autograd saves, under autocast, a cast and transposed weight."""
    for size in ((32, 64), (2, 32, 64)):
        square = model(
            lambda m: m.second(F.silu(m.first(m.x))).float().square().sum(),
            size,
            first=nn.Linear(64, 64),
            second=nn.Linear(64, 64),
        )
        both(square, amp=True)
    assert truth.made > 0


def test_the_input_of_a_linear_is_not_its_weight():
    """A copy of the input, made a matrix, has the size of the weight here."""

    def forward(m):
        return m.linear(m.conv(m.x).flatten(2).transpose(1, 2)).square().sum()

    both(model(forward, (2, 8, 4, 8), conv=nn.Conv2d(8, 32, 1), linear=nn.Linear(32, 64)))
    both(model(forward, (2, 8, 8, 8), conv=nn.Conv2d(8, 32, 1), linear=nn.Linear(32, 64)))


@pytest.mark.parametrize('levels', [(), ('attention',)])
def test_products_that_fold_their_arguments(levels):
    def fold(m):
        return (m.w @ F.silu(m.v * m.x)).square().sum()

    both(weight(weight(model(fold, (2, 32, 64)), 24, 32), 1, 32, 1, name='v'), levels)

    def broadcast(m):
        q, k = m.q(m.x)[None].expand(3, 2, 32, 64), m.k(m.x.mT.contiguous())[None]
        return (F.silu(q) @ F.silu(k)).square().sum()

    both(model(broadcast, (2, 32, 64), q=nn.Linear(64, 64), k=nn.Linear(32, 32)), levels)

    def one_key_for_all(m):
        q = m.q(m.x).unflatten(-1, (4, 16)).transpose(1, 2)
        return (q @ m.k(m.x)[:, None].mT).square().sum()

    both(model(one_key_for_all, (2, 32, 64), q=nn.Linear(64, 64), k=nn.Linear(64, 16)), levels)


def test_what_autocast_leaves_alone_where_something_is_written_into():
    def out(m):
        c = torch.zeros(64, 64)
        a = m.x * 2
        torch.mm(a, a, out=c)
        return m.linear(m.x).sum() * c.sum()

    both(model(out, (64, 64), linear=nn.Linear(64, 64)), amp=True)

    def in_place(m):
        c = m.x * 1
        c.baddbmm_(m.x, m.x)
        return m.linear(m.x).sum() * c.sum()

    both(model(in_place, (4, 32, 32), linear=nn.Linear(32, 32)), amp=True)


def test_a_sum_in_place_keeps_its_dtype():
    def forward(m):
        c = m.conv0(m.x)
        total, y = c.sin().sum(), c * 1
        y += m.x
        return total + m.conv1(y).float().square().sum()

    both(convs(forward), amp=True)


def test_indices_that_change_later():
    def tensors(m):
        y, i, j = F.silu(m.conv0(m.x)), torch.tensor(0), torch.tensor(2)
        z = m.conv1(y[i:j]).square().sum()
        i += 2
        j += 2
        return z

    def arrays(m):
        y, i = F.silu(m.conv0(m.x)), np.array([0, 1])
        z = m.conv1(y[i]).square().sum()
        i[:] = 2
        return z

    both(convs(tensors))
    both(convs(arrays))


def test_statistics_that_a_norm_moves_without_a_version(truth):
    def forward(m):
        c = m.conv0(m.x)
        y = F.silu(c - m.norm.running_mean.view(1, -1, 1, 1))
        return c.sin().sum() + m.norm(c).square().sum() * 0.01 + m.conv1(y).square().sum()

    both(convs(forward, norm=nn.BatchNorm2d(8)))
    assert truth.made > 0


def test_maps_that_were_written_into_in_place_and_live_on(truth):
    def forward(m):
        m.kept = []
        x = m.x
        for conv in (m.conv0, m.conv1):
            x = F.silu(m.norm(conv(x)), inplace=True)
            m.kept.append(x)
        return x.square().sum()

    both(convs(forward, norm=nn.GroupNorm(2, 8)))
    assert truth.made > 0


def test_what_is_kept_and_was_written_into_is_nothing_to_make_others_from():
    def forward(m):
        c = m.conv0(m.x)
        m.log = F.silu(c).mean()  # saves c, and has no backward pass
        wide = c.repeat(1, 2, 1, 1)
        with torch.no_grad():
            c.mul_(3)
        return wide.square().sum()

    both(convs(forward))


def test_small_parameters_may_be_stepped_before_the_backward_pass():
    def forward(m):
        c = m.conv0(m.x)
        return c.sin().sum() + m.conv1(F.silu(c + m.w)).square().sum()

    def loss(model):
        value = model()
        with torch.no_grad():
            model.w.add_(1)
        return value

    both(weight(convs(forward), 8, 1, 1), loss=loss)


def test_tensors_without_memory_or_version():
    def sparse(m):
        return torch.sparse.mm(torch.eye(64).to_sparse(), m.linear(m.x)).square().sum()

    both(model(sparse, (64, 64), linear=nn.Linear(64, 64)))
    both(convs(lambda m: torch.vmap(F.silu)(m.conv0(m.x)).sum()))

    def inference(m):
        return (m.conv0(m.x) + m.constant).square().sum()

    def loss(model):
        with torch.inference_mode():
            model.constant = torch.ones(4, 8, 16, 16)
        return model()

    both(convs(inference), loss=loss)


def test_many_views():
    def forward(m):
        y = F.silu(m.conv0(m.x))
        for _ in range(400):
            y = y.transpose(2, 3)
        return m.conv1(y).square().sum()

    both(convs(forward))


def test_a_small_view_does_not_keep_the_whole(truth):
    def forward(m):
        y = F.silu(m.conv0(m.x))
        return m.conv1(y).square().sum() + (y[0, 0, :1] * m.x).sum()

    both(convs(forward))
    assert truth.made > 0


def test_an_attention_mask_that_is_trained():
    def forward(m):
        q, k, v = m.q(m.x), m.k(m.x), m.v(m.x)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=m.w)
        return m.out(out).square().sum() + (q.sin() + k.sin() + v.sin()).sum()

    linears = {name: nn.Linear(32, 32) for name in ('q', 'k', 'v', 'out')}
    both(weight(model(forward, (2, 4, 64, 32), **linears), 1, 4, 64, 64), ['attention'])


@pytest.mark.parametrize('use_reentrant', [True, False])
def test_it_steps_aside_where_the_whole_model_is_recomputed(use_reentrant):
    def loss(model):
        one = torch.ones(1, requires_grad=True)
        return checkpoint(lambda x: model() * x.sum(), one, use_reentrant=use_reentrant)

    both(convs(lambda m: m.conv1(F.silu(m.conv0(m.x))).square().sum()), loss=loss)


def test_threads_do_not_know_each_other():
    watched = convs(lambda m: m.conv1(F.silu(m.conv0(m.x))).square().sum())
    Rematerialization().attach(watched)
    entered, errors = threading.Barrier(2), []

    def forward(m):
        entered.wait(20)
        return m.conv1(F.silu(m.conv0(m.x))).square().sum()

    def run():
        try:
            watched()
            assert torch.overrides._len_torch_function_stack() == 0
        except Exception as error:
            errors.append(error)

    watched.function = forward
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []


def test_a_level_of_modules_that_are_not_there_is_refused():
    with pytest.raises(UserError, match="'roi' is of the features of regions"):
        Rematerialization(['roi']).attach(convs(lambda m: m.x.sum()))


def test_what_is_compiled_is_found():
    plain = convs(lambda m: m.conv1(F.silu(m.conv0(m.x))).sum())
    assert compiled_parts(plain) == []
    plain.conv0.compile()
    assert compiled_parts(plain) == ['conv0']


def test_a_step_is_counted_by_those_who_only_count():
    watched = convs(lambda m: m.conv1(F.silu(m.conv0(m.x))).sum())
    Rematerialization().attach(watched)
    assert step(watched).saved > 0
