"""What could go wrong when tensors are made again, one by one."""

import copy
import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from made_again import Function, both, step
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmadapt.memory.checkpointing import recompute
from mmadapt.memory.rematerialize import Rematerialization
from mmadapt.memory.rematerialize.tracing import Tracing
from mmadapt.memory.rematerialize.values import Value
from mmadapt.meters.shapes import ShapesOnly

MAP = 4 * 8 * 16 * 16 * 4  # bytes of a map of `layers`


def about(size):
    """Return what equals a number of bytes but for vectors, of which copies are taken."""
    return pytest.approx(size, abs=512)


def layers(count=3, **more):
    """Return convolutions and an input, by name."""
    torch.manual_seed(0)
    convs = {f'conv{n}': nn.Conv2d(8, 8, 3, padding=1) for n in range(count)}
    model = Function(None, **convs, **more)
    model.register_buffer('x', torch.randn(4, 8, 16, 16))
    return model


def using(forward, **more):
    model = layers(**more)
    model.function = forward
    return model


def test_the_output_of_an_activation_is_made_again():
    plain, made = both(using(lambda m: m.conv1(F.silu(m.conv0(m.x))).sum()))
    assert plain.saved - made.saved == about(MAP)


@pytest.mark.parametrize('module', [nn.SiLU, nn.Hardswish, nn.Mish, nn.GELU, nn.LayerNorm])
def test_a_chain_keeps_one_map_of_three(module):
    layer = module(16) if module is nn.LayerNorm else module()
    model = using(lambda m: m.conv1(m.layer(m.conv0(m.x)) + 1).sum(), layer=layer)
    plain, made = both(model)
    assert plain.saved - made.saved == about(MAP)


def test_in_place_activations_are_made_from_the_copy_that_autograd_takes():
    model = using(lambda m: m.conv1(m.act(m.conv0(m.x))).sum(), act=nn.SiLU(inplace=True))
    plain, made = both(model)
    assert plain.saved - made.saved == about(MAP)


def test_a_write_behind_an_activation_is_noticed_as_ever():
    def forward(m):
        m.kept = y = F.silu(m.conv0(m.x))
        z = m.conv1(y)
        y.mul_(2)
        return z.sum() + y.sum()

    for watched in (False, True):
        model = using(forward)
        if watched:
            Rematerialization().attach(model)
        with pytest.raises(RuntimeError, match=r'modified by an inplace operation: .* version 1'):
            model().backward()


def test_a_write_in_front_of_an_activation_is_noticed_as_ever():
    def forward(m):
        c = m.conv0(m.x)
        y = F.silu(c)
        z = m.conv1(y)
        c.mul_(2)
        return z.sum()

    for watched in (False, True):
        model = using(forward)
        if watched:
            Rematerialization().attach(model)
        with pytest.raises(RuntimeError, match='modified by an inplace operation'):
            model().backward()


@pytest.mark.parametrize(
    'write',
    [
        lambda t: t.mul_(3),
        lambda t: t.detach().mul_(3),
        lambda t: t.view(-1).mul_(3),
        lambda t: t.__setitem__(0, 5.0),
        lambda t: torch.mul(t.detach(), 3, out=t.detach()),
        lambda t: F.relu(t, inplace=True),
    ],
)
def test_what_others_are_made_from_may_be_written_into_where_autograd_allows_it(write):
    def forward(m):
        c = m.conv0(m.x)
        wide = c.repeat(1, 2, 1, 1)  # keeps c, half its size, and autograd does not
        z = (wide * wide).sum()
        with torch.no_grad():
            write(c)
        return z

    plain, made = both(using(forward))
    assert made.saved < plain.saved


def test_a_value_that_was_written_over_behind_autograds_back_is_not_made_again():
    def forward(m):
        y = F.silu(m.conv0(m.x))
        y.detach().mul_(2)
        return m.conv1(y).sum()

    both(using(forward))


def test_a_view_of_a_value_that_was_written_over_is_another_value():
    def forward(m):
        c = m.conv0(m.x)
        y = F.silu(c)
        y[:, :4].mul_(2)
        return m.conv1(y).sum()

    both(using(forward))


def test_what_is_used_three_times_is_made_once(monkeypatch):
    calls = []

    def forward(m):
        y = F.hardswish(m.conv0(m.x))
        return sum(conv(y).square().sum() for conv in (m.conv1, m.conv2, m.conv3))

    model = using(forward, count=4)
    both(model)
    Rematerialization().attach(model)
    loss = model()
    real = torch._C._nn.hardswish
    monkeypatch.setattr(torch._C._nn, 'hardswish', lambda *a: calls.append(1) or real(*a))
    loss.backward()
    assert len(calls) == 1


@pytest.mark.parametrize('watched', [False, True])
def test_an_output_that_the_caller_changes(watched):
    def forward(m):
        m.output = F.silu(m.conv0(m.x))
        return m.conv1(m.output).sum()

    model = using(forward)
    if watched:
        Rematerialization().attach(model)
    loss = model()
    model.output.detach().mul_(2)
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        loss.backward()


def chain(blocks):
    def forward(m):
        x = m.conv0(m.x)
        for n in range(blocks):
            x = F.silu(x) + (0.1 + n / 1000)
        return x.square().sum()

    return using(forward)


def test_a_long_chain_takes_linear_time_and_little_memory():
    """Each block is made from the one before it, and yet 100 maps are never there at once."""

    def calls_and_peak(model):
        meter = ShapesOnly(large=2**62)
        count = [0]
        run = meter._run
        meter._run = lambda *args: count.__setitem__(0, count[0] + 1) or run(*args)
        with meter:
            loss = model()
            saved = meter.live
            before = count[0]
            loss.backward()
        return count[0] - before, meter.peak, saved

    plain_calls, plain_peak, _ = calls_and_peak(chain(100))
    short, long = chain(50), chain(100)
    for model in (short, long):
        Rematerialization().attach(model)
    (short_calls, _, _), (calls, peak, _) = calls_and_peak(short), calls_and_peak(long)
    assert calls < 2.2 * short_calls
    assert calls < 6 * plain_calls
    assert peak < 0.3 * plain_peak
    both(chain(100))


def test_an_address_that_is_used_again_is_another_tensor():
    def forward(m):
        total = m.conv0(m.x).sum()
        for n in range(6):
            # Each of these dies before the next is made, often in the same place.
            total = total + m.conv1(F.silu(m.conv0(m.x * n))).sum()
            total = total + (torch.ones_like(m.x) * n * m.conv2(m.x)).square().sum()
        return total

    both(using(forward))


def test_dropout_is_drawn_again():
    def forward(m):
        x = m.conv0(m.x)
        x = F.dropout(F.silu(x), 0.3)
        x = m.conv1(x)
        return m.conv2(F.dropout(x, 0.5)).sum()

    plain, made = both(using(forward))
    assert plain.saved - made.saved == about(3 * MAP)
    both(using(lambda m: m.conv1(F.dropout(m.conv0(m.x), 0.3, inplace=True)).sum()))
    both(using(lambda m: m.conv1(F.dropout(m.conv0(m.x), 0.3, training=False)).sum()))


def test_norms_in_training_move_their_statistics_once():
    def forward(m):
        return m.conv1(F.silu(m.norm(m.conv0(m.x)))).sum()

    for norm in (nn.BatchNorm2d(8), nn.BatchNorm2d(8).eval(), nn.InstanceNorm2d(8)):
        plain, made = both(using(forward, norm=norm))
        assert made.saved < plain.saved
        if not norm.training:
            assert plain.saved - made.saved == about(2 * MAP)


def test_nothing_is_left_behind():
    maps = []

    def forward(m):
        c = m.conv0(m.x)
        y = F.silu(c)
        maps.extend(weakref.ref(t) for t in (c, y))
        return m.conv1(y.repeat(1, 1, 2, 1)).sum()

    gc.collect()
    gc.disable()
    try:
        model = using(forward)
        Rematerialization().attach(model)
        loss = model()
        loss.backward()
        del loss
        assert [ref() for ref in maps] == [None, None]
        assert not [o for o in gc.get_objects() if isinstance(o, Value)]
    finally:
        gc.enable()


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize('where', ['forward', 'loss_by_feat', 'loss'])
def test_a_forward_that_fails_leaves_nothing_switched_on(where, error):
    def fail(*args):
        raise error

    model = head(**{where: fail})
    Rematerialization().attach(model)
    with pytest.raises(error):
        model()
    assert torch.overrides._len_torch_function_stack() == 0
    assert torch._C._autograd._top_saved_tensors_default_hooks(True) is None


def test_steps_do_not_remember_the_steps_before():
    def forward(m):
        m.mean = 0.9 * m.mean.detach() + 0.1 * F.silu(m.conv0(m.x)).mean((0, 2, 3), keepdim=True)
        return (m.conv1(m.x) * m.mean).sum()

    model = using(forward)
    model.mean = torch.ones(1, 8, 1, 1)
    Rematerialization().attach(model)
    counts = []
    for _ in range(4):
        model().backward()
        gc.collect()
        counts.append(len([o for o in gc.get_objects() if isinstance(o, Value)]))
    assert counts[-1] == counts[1]


def test_gradients_of_gradients():
    def penalty(model):
        loss = model()
        grads = torch.autograd.grad(loss, [*model.parameters()], create_graph=True)
        return sum(g.square().sum() for g in grads)

    def forward(m):
        return m.conv1(F.silu(m.conv0(m.x))).square().mean()

    both(using(forward, count=2), loss=penalty)


def test_the_graph_may_be_used_twice():
    model = using(lambda m: m.conv1(F.silu(m.conv0(m.x)).repeat(1, 1, 2, 1)).square().sum())
    Rematerialization().attach(model)
    loss = model()
    loss.backward(retain_graph=True)
    first = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    loss.backward()
    assert all(map(torch.equal, first, [p.grad for p in model.parameters() if p.grad is not None]))


def test_a_function_that_saves_its_output():
    class Squash(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = torch.tanh(x)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, grad):
            (y,) = ctx.saved_tensors
            return grad * (1 - y * y)

    both(using(lambda m: m.conv1(Squash.apply(F.silu(m.conv0(m.x)))).sum()))


def test_within_blocks_that_are_recomputed():
    def forward(m):
        return m.conv2(F.silu(m.block(F.silu(m.conv0(m.x))))).sum()

    model = using(forward, block=nn.Sequential(nn.Conv2d(8, 8, 1), nn.SiLU(), nn.Dropout(0.2)))
    recompute(model.block)
    plain, made = both(model)
    assert made.saved < plain.saved


def test_what_is_small_goes_to_the_hooks_that_are_in_force_within():
    seen = []

    def pack(tensor):
        seen.append(tensor.shape)
        return tensor

    def forward(m):
        x = F.silu(m.conv0(m.x))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            few = x.mean((2, 3)).exp().square()  # 128 bytes
            x = F.silu(x * few[:, :, None, None])
        return m.conv1(x).sum()

    both(using(forward))
    assert len(seen) % 2 == 0
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]
    assert torch.Size((4, 8)) in seen


def head(**functions):
    """Return a model with a head like MMDetection's: matching, and losses within."""
    model = using(lambda m: m.head(F.silu(m.conv0(m.x))))
    model.head = Head()
    for name, function in functions.items():
        if name == 'forward':
            model.function = function
        elif name == 'loss':
            model.head.loss_cls.forward = function
        else:
            setattr(model.head, name, function)
    return model


class Loss(nn.Module):
    def forward(self, x):
        return (F.silu(x).sigmoid() * F.softplus(x)).exp().sum()


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.loss_cls = nn.Conv2d(8, 8, 1), Loss()

    def forward(self, x):
        return self.loss_by_feat(F.silu(self.conv(x)))

    def loss_by_feat(self, x):
        weight = (x.detach() > 0).float()
        return self.loss_cls(x * weight) + (x.exp() * weight).square().sum()


def test_matching_is_not_watched_and_the_losses_within_are(monkeypatch):
    watched, real = [], Tracing._watch

    def watch(tracing, func, *args):
        watched.append(func.__name__)
        return real(tracing, func, *args)

    monkeypatch.setattr(Tracing, '_watch', watch)
    plain, made = both(head())
    assert made.saved < plain.saved - 2 * MAP
    assert {'silu', 'sigmoid', 'softplus'} <= set(watched)
    assert watched.count('exp') == 1
    assert 'square' not in watched


def _in_place(y):
    y.sigmoid_()


def _by_data(y):
    y.data.clamp_(min=0)


@torch.no_grad()
def _detached(y):
    y.detach().neg_()


@pytest.mark.parametrize('write', [_in_place, _by_data, _detached])
def test_what_matching_writes_into_is_copied_before(write):
    def forward(m):
        y = m.conv0(m.x)
        return m.head.loss_by_feat(y, torch.cat([y, y + 1, y * 2], 1).exp())

    def loss_by_feat(y, z):
        write(y)
        return (z * z).mean() + y.mean()

    both(head(forward=forward, loss_by_feat=loss_by_feat))


class RecomputingHead(Head):
    def loss_by_feat(self, x):
        def loss(y):
            return self.loss_cls(y.exp()).exp().mean()

        return checkpoint(loss, x, use_reentrant=False)


def test_a_loss_within_a_block_that_matching_recomputes():
    model = head()
    model.head = RecomputingHead()
    model.head.loss_cls = nn.Sigmoid()
    both(model)


def test_a_copy_of_a_watched_model_watches_itself():
    model = head()
    plain = step(head())
    Rematerialization().attach(model)
    copied = copy.deepcopy(model)
    del model
    made = step(copied)
    assert made.saved < plain.saved
    for name, gradient in plain.gradients.items():
        assert torch.equal(made.gradients[name], gradient), name


def test_it_steps_aside_under_hooks_that_keep_things_elsewhere():
    seen = []

    def forward(m):
        return m.conv1(F.silu(m.conv0(m.x))).sum()

    def loss(model):
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: seen.append(t.shape) or t.contiguous(), lambda t: t
        ):
            return model()

    both(using(forward, count=2), loss=loss)
    assert len(seen) % 2 == 0
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]


@pytest.mark.parametrize('dropout', [0.0, 0.2])
def test_casts_of_autocast_are_made_again(dropout):
    def forward(m):
        x = F.silu(m.conv0(m.x))
        x = m.norm(x)
        x = m.conv1(F.dropout(x, dropout))
        tokens = m.linear(x.flatten(2).transpose(1, 2))
        return (tokens @ tokens.transpose(1, 2)).sum()

    model = using(forward, norm=nn.GroupNorm(2, 8), linear=nn.Linear(8, 32).requires_grad_(False))
    plain, made = both(model, amp=True)
    assert made.saved < 0.7 * plain.saved


def test_an_image_that_needs_no_gradient_is_kept_once():
    plain, made = both(using(lambda m: (m.conv0(m.x) + m.conv1(m.x) + m.conv2(m.x)).sum()))
    assert plain.saved == made.saved


def test_nothing_is_watched_where_nothing_is_recorded():
    model = using(lambda m: F.silu(m.conv0(m.x)).sum())
    Rematerialization().attach(model)
    expected = step(model)
    with torch.no_grad():
        assert torch.equal(model(), expected.loss)
