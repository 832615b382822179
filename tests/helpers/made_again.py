"""Steps of a model with and without making anything again, and whether they are the same."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmadapt.memory.rematerialize import Rematerialization
from mmadapt.memory.rematerialize.saved import Saved
from mmadapt.meters.step import SavedForBackward


class Function(nn.Module):
    """A model that computes a loss by a function of itself.

    Args:
        forward (callable): The function; takes the model.
        layers (nn.Module): What it uses, by name.
    """

    def __init__(self, forward, **layers) -> None:
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            self.register_module(name, layer)

    def forward(self):
        """Return what the function returns."""
        return self.function(self)


@dataclass
class Step:
    """What there is after a step.

    Attributes:
        loss (Tensor): The loss.
        gradients (dict): Of the parameters, by name.
        buffers (dict): The model's, by name.
        random (Tensor): The state of torch's generator.
        saved (int): Bytes that were kept between forward and backward.
    """

    loss: Tensor
    gradients: dict[str, Tensor]
    buffers: dict[str, Tensor]
    random: Tensor
    saved: int


def step(model: nn.Module, loss=None, amp: bool = False) -> Step:
    """Make a step from the same random state."""
    torch.manual_seed(7)
    with torch.autocast('cpu', torch.bfloat16, enabled=amp), SavedForBackward(model) as kept:
        value = model() if loss is None else loss(model)
        saved = kept.bytes()
    value.backward()
    return Step(
        value.detach(),
        {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None},
        {n: b.clone() for n, b in model.named_buffers()},
        torch.get_rng_state(),
        saved,
    )


def both(model: nn.Module, levels=(), loss=None, amp: bool = False) -> tuple[Step, Step]:
    """Make a step without and one with it, check that they are the same, and return both."""
    model, other = copy.deepcopy(model), copy.deepcopy(model)
    Rematerialization(levels).attach(other)
    plain, made = step(model, loss, amp), step(other, loss, amp)
    assert torch.equal(plain.loss, made.loss)
    for name in ('gradients', 'buffers'):
        expected, found = getattr(plain, name), getattr(made, name)
        assert expected.keys() == found.keys()
        assert [key for key in expected if not same(expected[key], found[key])] == []
    assert plain.gradients
    assert torch.equal(plain.random, made.random)
    return plain, made


def same(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors are the same bit by bit."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    if not a.is_floating_point():
        return torch.equal(a, b)
    kind = whole[a.element_size()]
    return torch.equal(a.contiguous().view(kind), b.contiguous().view(kind))


class Truth:
    """Keeps everything that is made again beside it, and compares; by a fixture.

    Attributes:
        made (int): How many tensors have been made again.
    """

    def __init__(self, monkeypatch) -> None:
        self.made = 0
        self._of: dict[int, tuple[Saved, Tensor, tuple]] = {}
        make_from, restore = Saved.make_from, Saved.restore

        def remember(saved, value, anchors):
            truth = saved.pending().detach()
            self._of[id(saved)] = saved, truth.clone(), truth.stride()
            make_from(saved, value, anchors)

        def compare(saved):
            found = restore(saved)
            if id(saved) in self._of:
                _, truth, stride = self._of[id(saved)]
                self.made += 1
                assert same(found, truth), 'made otherwise'
                assert found.stride() == stride or found.numel() == 1
            return found

        monkeypatch.setattr(Saved, 'make_from', remember)
        monkeypatch.setattr(Saved, 'restore', compare)
