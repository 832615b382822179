"""A loss scale over two processes: a step that one of them cannot make is made by neither."""

import pytest
import torch
import torch.distributed as dist
from mmengine.optim import OptimWrapper
from together import run_together
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from mmadapt.optim import AutocastOptimWrapper

STEPS = 4


class Model(nn.Module):
    """Elementwise, so that autocast leaves it in float32."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.arange(1.0, 7.0))
        self.offset = nn.Parameter(torch.ones(5))

    def forward(self, x):
        return (self.factor * x).square().mean() + self.offset.square().mean()


def _batch(rank, step, wrong):
    x = torch.randn(6, generator=torch.Generator().manual_seed(10 * step + rank))
    if wrong and (rank, step) == (1, 1):
        x[0] = float('inf')  # its gradient is that of an element that rank 0 has
    return x


def _steps(model, wrapper, batches):
    for ranks in batches:
        with wrapper.optim_context(model):
            loss = sum(model(x) for x in ranks) / len(ranks)
        wrapper.update_params(loss)


def _wrapper(kind, model, **kwargs):
    return kind(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        clip_grad=dict(max_norm=0.5),
        **kwargs,
    )


def _run(rank, queue):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', rank=rank, world_size=2)
    for kind, wrap in (('ddp', DistributedDataParallel), ('fsdp2', fully_shard)):
        model = Model()
        wrapped = wrap(model)
        wrapper = _wrapper(AutocastOptimWrapper, wrapped, dtype='float16')
        _steps(wrapped, wrapper, [[_batch(rank, step, True)] for step in range(STEPS)])
        tensors = [
            (p.full_tensor() if hasattr(p, 'full_tensor') else p).detach().numpy()
            for p in model.parameters()
        ]
        queue.put((kind, rank, wrapper.skipped_steps, wrapper.loss_scaler.get_scale(), tensors))
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def found():
    results = run_together(_run, 2, results=4)
    return {(kind, rank): rest for kind, rank, *rest in results}


@pytest.mark.parametrize('kind', ['ddp', 'fsdp2'])
def test_both_skip_it_and_clip_the_others_by_the_norm_of_the_whole(kind, found):
    wanted = Model()
    _steps(
        wanted,
        _wrapper(OptimWrapper, wanted),
        [[_batch(0, step, False), _batch(1, step, False)] for step in range(STEPS) if step != 1],
    )
    for rank in range(2):
        skipped, scale, tensors = found[kind, rank]
        assert (skipped, scale) == (1, 32768.0)
        for tensor, parameter in zip(tensors, wanted.parameters(), strict=True):
            torch.testing.assert_close(torch.from_numpy(tensor), parameter.detach())
