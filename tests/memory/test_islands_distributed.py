"""Islands in a model that is wrapped or sharded over two processes."""

import pytest
import torch
import torch.distributed as dist
from together import run_together
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from mmadapt.memory.checkpointing import recompute
from mmadapt.memory.islands import keep_float32


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList([nn.Linear(8, 4), nn.Linear(8, 4)])

    def loss(self, maps, refined):
        return (self.branches[1](maps) @ refined.T).square().mean()


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.GELU()) for _ in range(3)])
        self.attention = nn.Linear(8, 8)
        self.head = Head()
        self.seen = []
        keep_float32(self, ['attention', 'head'])
        for block in (self.blocks[1], self.attention):
            recompute(block)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
            self.seen.append(x.dtype)
        maps = self.attention(x)
        refined = self.head.branches[0](x)
        self.seen += [maps.dtype, refined.dtype]
        return self.head.loss(maps, refined)


def _wrap(model, kind):
    if kind == 'ddp':
        return DistributedDataParallel(model)
    # As a strategy does: each block and island by itself, the head in the root.
    for module in (*model.blocks, model.attention):
        fully_shard(module)
    return fully_shard(model)


def _batch(rank, step):
    return torch.randn(4, 8, generator=torch.Generator().manual_seed(10 * step + rank))


def _steps(model, batches):
    """Train on batches, the gradients of those of one step averaged; return losses and dtypes."""
    losses = []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for ranks in batches:
        optimizer.zero_grad()
        for batch in ranks:
            with torch.autocast('cpu', torch.bfloat16):
                loss = model(batch)
            (loss / len(ranks)).backward()
            losses.append((loss.item(), str(loss.dtype)))
        optimizer.step()
    return losses


def _run(rank, queue):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', rank=rank, world_size=2)
    for kind in ('ddp', 'fsdp2'):
        model = Model()
        losses = _steps(_wrap(model, kind), [[_batch(rank, step)] for step in range(3)])
        tensors = {
            n: (p.full_tensor() if hasattr(p, 'full_tensor') else p).detach().numpy()
            for n, p in model.named_parameters()
        }
        queue.put((kind, rank, losses, [str(dtype) for dtype in model.seen], tensors))
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def found():
    results = run_together(_run, 2, results=4)
    return {(kind, rank): rest for kind, rank, *rest in results}


@pytest.mark.parametrize('kind', ['ddp', 'fsdp2'])
def test_two_processes_train_with_islands_what_one_trains(kind, found):
    wanted, start = Model(), dict(Model().named_parameters())
    losses = _steps(wanted, [[_batch(0, step), _batch(1, step)] for step in range(3)])
    for rank in range(2):
        own_losses, seen, tensors = found[kind, rank]
        assert own_losses == [
            (pytest.approx(loss, rel=1e-5), 'torch.float32') for loss, _ in losses[rank::2]
        ]
        assert seen == 3 * (3 * ['torch.bfloat16'] + 2 * ['torch.float32'])
        for name, parameter in wanted.named_parameters():
            torch.testing.assert_close(
                torch.from_numpy(tensors[name]), parameter.detach(), rtol=0, atol=1e-6
            )
            assert not torch.equal(parameter, start[name]), name
