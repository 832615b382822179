"""Hugging Face's schedules by name."""

import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS

from mmadapt.errors import UserError
from mmadapt.optim.named_lr import SCHEDULES

STEPS, WARMUP, LR = 40, 6, 0.02
OPTIONS = dict(
    cosine_with_restarts=dict(num_cycles=3),
    cosine_with_min_lr=dict(min_lr=0.004),
    polynomial=dict(power=2.0, lr_end=1e-4),
    warmup_stable_decay=dict(num_decay_steps=10, min_lr_ratio=0.1),
)


def optimizer(lr=LR):
    groups = [dict(params=[torch.zeros(1)]), dict(params=[torch.zeros(1)], lr=lr / 4)]
    return torch.optim.SGD(groups, lr=lr)


def build(optim, name: str, **changes):
    given = dict(type='NamedLR', schedule=name, optimizer=optim, end=STEPS, **changes)
    return PARAM_SCHEDULERS.build(given)


def rates(optim, scheduler) -> list[list[float]]:
    found = []
    for _ in range(STEPS):
        found.append([group['lr'] for group in optim.param_groups])
        optim.step()
        scheduler.step()
    return found


@pytest.mark.parametrize('warmup', [0, WARMUP])
@pytest.mark.parametrize('name', SCHEDULES)
def test_it_is_hugging_faces_step_by_step(name, warmup):
    transformers = pytest.importorskip('transformers', reason='transformers is not installed')
    options = OPTIONS.get(name, {})
    ours, theirs = optimizer(), optimizer()
    wanted = transformers.get_scheduler(
        name, theirs, warmup, STEPS, scheduler_specific_kwargs=dict(options)
    )
    found = build(ours, name, num_warmup_steps=warmup, options=options)
    for one, other in zip(rates(ours, found), rates(theirs, wanted), strict=True):
        assert one == pytest.approx(other, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ('name', 'first', 'middle', 'last'),
    [
        ('constant', 1, 1, 1),
        ('linear', 1, 0.5, 1 / STEPS),
        ('cosine', 1, 0.5, 0.0015413),
        ('inverse_sqrt', 1, (10_000 / 10_020) ** 0.5, (10_000 / 10_039) ** 0.5),
    ],
)
def test_rates_at_the_ends_of_a_run(name, first, middle, last):
    optim = optimizer()
    found = [one for one, _ in rates(optim, build(optim, name))]
    shares = [found[step] / LR for step in (0, STEPS // 2, STEPS - 1)]
    assert shares == pytest.approx([first, middle, last], rel=1e-4)


def test_a_resumed_schedule_goes_on_where_it_was():
    straight = optimizer()
    wanted = rates(straight, build(straight, 'cosine', num_warmup_steps=WARMUP))
    first = optimizer()
    scheduler = build(first, 'cosine', num_warmup_steps=WARMUP)
    for _ in range(15):
        first.step()
        scheduler.step()
    state = scheduler.state_dict()
    assert all(isinstance(v, (int, float, bool, str, list, type(None))) for v in state.values())
    second = optimizer()
    again = build(second, 'cosine', num_warmup_steps=WARMUP)
    second.load_state_dict(first.state_dict())
    again.load_state_dict(state)
    for step in range(15, STEPS):
        assert [g['lr'] for g in second.param_groups] == pytest.approx(wanted[step])
        second.step()
        again.step()


def test_a_resumed_run_that_is_to_be_longer_goes_by_its_own_length():
    first = optimizer()
    scheduler = build(first, 'linear')
    for _ in range(STEPS):
        first.step()
        scheduler.step()
    longer = optimizer()
    again = PARAM_SCHEDULERS.build(
        dict(type='NamedLR', schedule='linear', optimizer=longer, end=2 * STEPS)
    )
    again.load_state_dict(scheduler.state_dict())
    longer.step()
    again.step()
    assert longer.param_groups[0]['lr'] == pytest.approx(LR * (STEPS - 1) / (2 * STEPS))


@pytest.mark.parametrize(
    ('name', 'changes', 'said'),
    [
        ('cosin', {}, "nearest: 'cosine'"),
        ('cosine', dict(options=dict(cycles=2)), "nearest: 'num_cycles'"),
        ('cosine_with_min_lr', {}, 'needs its least rate'),
        ('cosine_with_min_lr', dict(options=dict(min_lr=1.0)), 'must be 0 to'),
        ('warmup_stable_decay', {}, 'needs num_decay_steps'),
        ('linear', dict(num_warmup_steps=-1), 'at least 0'),
        ('linear', dict(by_epoch=True), 'by_epoch=False'),
    ],
)
def test_a_wrong_schedule_says_what_to_write(name, changes, said):
    with pytest.raises(UserError, match=said):
        build(optimizer(), name, **changes)


def test_it_has_to_know_the_length_of_the_run():
    with pytest.raises(UserError, match='end=ITERATIONS'):
        PARAM_SCHEDULERS.build(dict(type='NamedLR', schedule='linear', optimizer=optimizer()))
