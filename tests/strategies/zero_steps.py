"""Steps of a small model under DeepSpeed, beside the same steps of torch, on two processes.

Each process has its own inputs. What differs is written as lines of text.
"""

import argparse
import copy
import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.dist import get_rank
from mmengine.optim import CosineAnnealingLR, CosineAnnealingMomentum, OptimWrapper
from torch import nn

from mmadapt.strategies.deepspeed import operators
from mmadapt.strategies.deepspeed.engine import DeepSpeedOptimWrapper, initialize
from mmadapt.strategies.deepspeed.settings import parse_settings
from mmadapt.strategies.deepspeed.state import whole_state_dict

# Such an eps that a gradient near zero, whose rounding is the CPU's own, is not divided by itself.
OPTIMIZERS = dict(
    SGD=dict(lr=0.1, momentum=0.9, weight_decay=0.01),
    Adam=dict(lr=0.01, eps=1e-3),
    AdamW=dict(lr=0.01, eps=1e-3),
    RMSprop=dict(lr=0.01, momentum=0.5, eps=1e-3),
    NAdam=dict(lr=0.01, eps=1e-3),
)
CLIP = dict(max_norm=0.5)


class Model(nn.Module):
    """Layers of odd sizes, one frozen, and a scale without dimensions, as FCOS has."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.frozen, self.last = nn.Linear(5, 7), nn.Linear(7, 7), nn.Linear(7, 3)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.frozen.requires_grad_(False)

    def forward(self, x):
        return self.last(self.frozen(self.first(x).relu()) * self.scale)


def groups(model):
    return [
        dict(params=[*model.first.parameters(), model.scale]),
        dict(params=list(model.last.parameters()), weight_decay=0.1),
    ]


def schedulers(wrapper):
    """Return schedulers that change what every step is made with."""
    return [
        cls(wrapper, T_max=9, by_epoch=False)
        for cls in (CosineAnnealingLR, CosineAnnealingMomentum)
    ]


def train(wrapper, model, inputs, state, begin=0, end=None, gradients=(), scheduled=True):
    """Make the steps, from a state if there is one, and from gradients inside an accumulation."""
    own = schedulers(wrapper) if scheduled else []
    if state is not None:
        wrapper.load_state_dict(copy.deepcopy(state))
    wrapper.initialize_count_status(model, begin, end or len(inputs))
    for parameter, gradient in zip(model.parameters(), gradients, strict=False):
        parameter.grad = gradient
    for x in inputs[begin:]:
        with wrapper.optim_context(model):
            loss = model(x).square().mean()
        wrapper.update_params(loss)
        for scheduler in own:
            scheduler.step()
    return wrapper.state_dict()


def torch_steps(model, name, inputs, state=None, accumulated=1):
    """Step with the gradients of all processes, as DDP does; return the state of the optimizer."""
    wrapper = OptimWrapper(
        getattr(torch.optim, name)(groups(model), **OPTIMIZERS[name]),
        accumulative_counts=accumulated,
        clip_grad=dict(CLIP),
    )
    return train(wrapper, nn.parallel.DistributedDataParallel(model), inputs, state)


def zero_steps(model, name, inputs, zero, state=None, accumulated=1, **where):
    """Step with DeepSpeed; return the state of the model and of the optimizer."""
    settings, _ = parse_settings(
        None,
        dict(
            zero_optimization=dict(
                stage3_param_persistence_threshold=0, reduce_bucket_size=1000, **zero
            ),
            torch_autocast=dict(enabled=False),
            gradient_clipping=CLIP['max_norm'],
        ),
    )
    optimizer = getattr(torch.optim, name)(groups(model), **OPTIMIZERS[name])
    params = [list(group['params']) for group in optimizer.param_groups]
    wrapper = DeepSpeedOptimWrapper(
        optimizer=optimizer, accumulative_counts=accumulated, clip_grad=dict(CLIP)
    )
    engine = initialize(
        model,
        optimizer,
        dict(settings, train_micro_batch_size_per_gpu=1, gradient_accumulation_steps=accumulated),
    )
    wrapper.attach(engine, params)
    state = train(wrapper, engine, inputs, state, **where)
    weights = whole_state_dict(model) if zero['stage'] == 3 else model.state_dict()
    return weights, state


def differences(name, zero, accumulated):
    """Yield what is not as with torch: after three steps, then with the states exchanged."""
    torch.manual_seed(0)
    model = Model()
    ours, theirs = copy.deepcopy(model), copy.deepcopy(model)
    if get_rank():  # the first process's weights are those of all
        nn.init.zeros_(ours.scale)
        nn.init.zeros_(ours.first.weight)
    generator = torch.Generator().manual_seed(get_rank())
    inputs = torch.randn(6, 4, 5, generator=generator)
    wanted = torch_steps(theirs, name, inputs[:3], None, accumulated)
    weights, state = zero_steps(ours, name, inputs[:3], zero, None, accumulated)
    yield from _compare(weights, theirs.state_dict(), state, wanted)
    # A run goes on from what the other has left.
    for whole in (state, wanted):
        objects = [whole]
        dist.broadcast_object_list(objects)
        ours = copy.deepcopy(theirs)
        after = copy.deepcopy(theirs)
        last = torch_steps(after, name, inputs[3:], objects[0], accumulated)
        weights, state_after = zero_steps(ours, name, inputs[3:], zero, objects[0], accumulated)
        yield from _compare(weights, after.state_dict(), state_after, last)


def interrupted(zero):
    """Yield what is not as without a stop of ZeRO-1 inside an accumulation."""
    torch.manual_seed(0)
    model = Model()
    generator = torch.Generator().manual_seed(get_rank())
    inputs = torch.randn(6, 4, 5, generator=generator)
    whole, part = copy.deepcopy(model), copy.deepcopy(model)
    weights, state = zero_steps(whole, 'SGD', inputs, zero, None, 2, scheduled=False)
    _, before = zero_steps(part, 'SGD', inputs[:3], zero, None, 2, end=6, scheduled=False)
    gradients = [None if p.grad is None else p.grad.clone() for p in part.parameters()]
    objects = [before]
    dist.broadcast_object_list(objects)
    again = Model()
    again.load_state_dict(part.state_dict())
    resumed, after = zero_steps(
        again,
        'SGD',
        inputs,
        zero,
        objects[0],
        2,
        begin=3,
        end=6,
        gradients=gradients,
        scheduled=False,
    )
    yield from _compare(resumed, weights, after, state)


def _compare(weights, wanted_weights, state, wanted):
    sharded = get_rank() and not weights  # of ZeRO-3 only the first process gets them
    for key, value in wanted_weights.items() if not sharded else ():
        if value.shape != weights[key].shape or not torch.allclose(weights[key], value, atol=1e-6):
            yield f'{key}: {weights[key].flatten()[:3]}, not {value.flatten()[:3]}'
    if get_rank():
        return
    if (
        state['param_groups'] != wanted['param_groups']
        or set(state) != set(wanted)
        or set(state['state']) != set(wanted['state'])
    ):
        yield f'{state["param_groups"]}, not {wanted["param_groups"]}'
    for number, own in wanted['state'].items():
        for key, value in own.items():
            mine = state['state'][number][key]
            if mine.shape != value.shape or not torch.allclose(mine, value, atol=1e-6):
                yield f'{number}.{key}: {mine}, not {value}'


def main() -> None:
    """Write what differs into a file, by optimizer and stage."""
    parser = argparse.ArgumentParser()
    parser.add_argument('out', type=Path)
    parser.add_argument('--launcher')
    out = parser.parse_args().out
    dist.init_process_group('gloo')
    operators.start('AdamW')
    offload = dict(offload_optimizer=dict(device='cpu'))
    cases = [(name, dict(stage=stage), 1) for name in OPTIMIZERS for stage in (1, 2, 3)]
    # Two iterations a step, and a last one by itself.
    cases += [
        ('AdamW', dict(stage=stage, **options), count)
        for stage in (1, 2, 3)
        for options, count in (({}, 2), (offload, 1), (offload, 2))
    ]
    cases += [('AdamW', dict(stage=3, offload_param=dict(device='cpu'), **offload), 2)]
    found = {str(case): list(differences(*case)) for case in cases}
    for zero in (dict(stage=1), dict(stage=1, **offload)):
        found[f'interrupted {zero}'] = list(interrupted(zero))
    everyone = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, found)
    if get_rank() == 0:
        out.write_text(
            json.dumps({key: [line for one in everyone for line in one[key]] for key in found})
        )
    dist.destroy_process_group()


if __name__ == '__main__':
    sys.exit(main())
