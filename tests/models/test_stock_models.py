"""Adapters on whole stock detectors: what trains and moves, what has an effect, what merging does.

Every tensor of an adapter must matter. The few that cannot, because the stock model itself ignores
what they would change, are listed here with the reason.
"""

import copy
import re

import pytest
import torch
from adapting import EVERYWHERE, adapt, adapter_tensors, perturb
from model_zoo import DETECTORS, raw_outputs

from mmadapt import merge, unmerge
from mmadapt.norms import statistics_move
from mmadapt.peft import merged_state_dict

# DETR's queries enter its decoder as zeros: the first self-attention attends to equal values (the
# bias), whatever its q and k are, and no weight of its v is multiplied by anything else than zero.
# In training its attention weights are dropped out at random, which q and k shape after all.
_FIRST = r'decoder\.layers\.0\.self_attn\.attn\.'
BLIND_IN_TRAINING = {
    'LoRA': _FIRST + '(lora_[AB])_v',
    'DoRA': _FIRST + '(lora_[AB]|magnitude)_v',
    'SSF': '-',
}
BLIND = {
    'DETR': {
        'LoRA': _FIRST + '(lora_[AB])_[qkv]',
        'DoRA': _FIRST + '(lora_[AB]|magnitude)_[qkv]',
        'SSF': _FIRST + r'ssf_(scale|shift)_[qk]',
    },
    # The order of one class's scores is all that its first stage hands on.
    'Deformable DETR, refined in two stages': {
        'LoRA': '-',
        'DoRA': '-',
        'SSF': r'bbox_head\.cls_branches\.2\.ssf_shift',
    },
}

# Their gradients are no derivatives: DINO and its like detach the boxes that they refine, FCOS
# computes boxes in single precision.
CUT = {'DINO', 'Deformable DETR, refined in two stages', 'FCOS'}

# With dropout, or other queries in training.
RANDOM = {'DETR', 'Deformable DETR', 'Deformable DETR, refined in two stages', 'DINO'}

# Levels that no box of so small an image is assigned to get no gradient in a step.
_OF_LARGE_BOXES = {
    'RTMDet': r'bbox_head\.(reg_convs|rtm_reg)\.[12]\..*',
    'RTMDet-Ins': r'bbox_head\.((reg|kernel)_convs|rtm_(reg|kernel))\.[12]\..*',
    'YOLOX': r'bbox_head\.multi_level_.*\.[12]\..*',
    'FCOS': r'bbox_head\.scales\.[2-4]\.scale',
    'DETR': BLIND_IN_TRAINING['DoRA'],
}
_OF_LARGE_REGIONS = r'neck\.fpn_convs\.[123]\.conv\..*'


# LoRA on every family; what is DoRA's and SSF's own, on every other one each.
PAIRS = [
    (family, method)
    for place, family in enumerate(DETECTORS)
    for method in ('LoRA', 'SSF' if place % 2 else 'DoRA')
]


def pytest_generate_tests(metafunc):
    """Let each test run for all pairs."""
    metafunc.parametrize(('family', 'method'), PAIRS, indirect=['family'], scope='module')


@pytest.fixture(scope='module')
def family(request):
    """The name of a family of detectors and a stock model of it."""
    return request.param, DETECTORS[request.param].build()


def outputs(model):
    with torch.no_grad():
        return raw_outputs(model)


def difference(found, wanted):
    assert len(found) == len(wanted) > 1
    return max(
        ((a - b).abs().max() / b.abs().max()).item() for a, b in zip(found, wanted, strict=True)
    )


def test_a_training_step_moves_exactly_what_trains(family, method):
    name, model = family[0], adapt(family[1], method).train()
    perturb(model)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    trained = {n for n, p in parameters.items() if p.requires_grad}
    assert set(adapter_tensors(model)) <= trained
    statistics = {
        f'{prefix}.{n}'
        for prefix, m in model.named_modules(remove_duplicate=False)
        if statistics_move(m)
        for n, _ in m.named_buffers(recurse=False)
    }
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], eps=1e-30)
    DETECTORS[name].loss(model).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in parameters.values())
    optimizer.step()
    moved = {n for n, tensor in model.state_dict().items() if not torch.equal(tensor, before[n])}
    assert moved <= trained | statistics, 'called frozen, moved'
    unused = re.compile(_OF_LARGE_BOXES.get(name, _OF_LARGE_REGIONS))
    assert [n for n in sorted(trained - moved) if not unused.fullmatch(n)] == []


def test_merged_it_predicts_the_same_as_a_stock_model(family, method):
    name, stock = family
    detector, model = DETECTORS[name], adapt(stock, method, **EVERYWHERE)
    # Torch itself rounds an attention differently whose weights need a gradient.
    stock = copy.deepcopy(stock).requires_grad_(False)
    start = outputs(stock)
    assert difference(outputs(model), start) <= (2e-5 if method == 'DoRA' else 0)

    perturb(model)
    wanted, wanted_predictions = outputs(model), detector.predictions(model)
    assert difference(wanted, start) > 0.05
    before = copy.deepcopy(model.state_dict())
    merge(model)
    assert [type(m) for m in model.modules()] == [type(m) for m in stock.modules()]
    assert difference(outputs(model), wanted) < 1e-4
    stock.load_state_dict(model.state_dict(), strict=True)
    assert difference(outputs(stock), wanted) < 1e-4
    for found, expected in zip(detector.predictions(stock), wanted_predictions, strict=True):
        assert len(found) == len(expected) > 0
        assert torch.equal(found.labels, expected.labels)
        torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-4)
        torch.testing.assert_close(found.bboxes, expected.bboxes, rtol=0, atol=1e-2)  # of a pixel
        if 'masks' in expected:
            assert (found.masks != expected.masks).float().mean() < 1e-3

    unmerge(model)
    assert all(torch.equal(t, before[key]) for key, t in model.state_dict().items())
    for found, expected in zip(outputs(model), wanted, strict=True):
        assert torch.equal(found, expected)
    state = merged_state_dict(model)
    assert all(torch.equal(t, state[key]) for key, t in stock.state_dict().items())


def gradients(model, seed=2):
    """Return the gradients of a random projection of all outputs, and the projection."""

    def project():
        torch.manual_seed(seed)
        maps = raw_outputs(model)
        generator = torch.Generator().manual_seed(seed)
        return sum((t * torch.randn(t.shape, generator=generator).to(t)).sum() for t in maps)

    tensors = adapter_tensors(model)
    found = torch.autograd.grad(project(), list(tensors.values()), allow_unused=True)
    return dict(zip(tensors, found, strict=True)), project


def without_effect(model, found):
    """Return the tensors whose gradient is zero but for rounding."""
    sizes = {n: 0.0 if g is None else g.norm().item() for n, g in found.items()}
    limit = 1e-11 * torch.tensor(list(sizes.values())).median()
    return {n for n, size in sizes.items() if size <= limit}


def test_every_adapter_tensor_changes_what_is_computed(family, method):
    name, model = family[0], adapt(family[1], method, **EVERYWHERE).double()
    perturb(model)
    tensors = adapter_tensors(model)

    found, project = gradients(model.train())
    blind = {n for n in tensors if name == 'DETR' and re.fullmatch(BLIND_IN_TRAINING[method], n)}
    assert without_effect(model, found) == blind
    if method != 'DoRA' and name not in CUT:  # DoRA's norm is taken for a constant on purpose
        check_slope(tensors, found, project)

    folded, reference = outputs(model), outputs(model.eval())
    assert name in RANDOM or difference(folded, reference) < 1e-6
    found, _ = gradients(model)
    blind = {n for n in tensors if name in BLIND and re.fullmatch(BLIND[name][method], n)}
    assert blind <= without_effect(model, found)
    for key in without_effect(model, found) - blind:
        # What chooses the queries of a DETR in two stages has no gradient here.
        with torch.no_grad():
            kept = tensors[key].clone()
            tensors[key].add_(kept.abs().mean() * torch.randn_like(kept) - 3 * kept)
            assert difference(outputs(model), reference) > 1e-6, key
            tensors[key].copy_(kept)


@torch.no_grad()
def check_slope(tensors, found, project, step=3e-9):
    """Compare gradients with a difference of outputs along a random direction.

    A step so short that hardly ever one of a million ReLUs, or the threshold of a mask, is crossed
    on it, and so long that rounding is 2e-5 of the slope.
    """
    generator = torch.Generator().manual_seed(8)
    along = {
        n: torch.randn(t.shape, generator=generator).to(t) * t.std().nan_to_num(0)
        for n, t in tensors.items()
    }
    values = []
    for sign in (-1, 2):
        for n, tensor in tensors.items():
            tensor += sign * step * along[n]
        values.append(project())
    slope = sum((found[n] * along[n]).sum() for n in tensors if found[n] is not None)
    torch.testing.assert_close((values[1] - values[0]) / (2 * step), slope, rtol=1e-4, atol=0)
