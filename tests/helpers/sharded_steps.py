"""A small model that has all there is to shard, and what processes that shard it find."""

import copy
import random

import torch
import torch.distributed as dist
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

PROCESSES = 4
STEPS = 3
# Each with the shape of the mesh and the arguments of Sharding.
WAYS = dict(
    plain=((4,), {}),
    one_piece=((4,), dict(units=[])),
    copies=((2, 2), {}),
    kept=((4,), dict(reshard_after_forward=False, prefetch=2)),
    kept_by_two=((4,), dict(reshard_after_forward=2)),
    on_cpu=((4,), dict(offload=True)),
    recomputed=((4,), dict(prefetch=1)),
)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.shift = nn.Parameter(torch.zeros(1))
        # As a quantized weight: no gradient is possible.
        self.codes = nn.Parameter(torch.arange(6, dtype=torch.uint8), requires_grad=False)
        self.register_buffer('mean', torch.rand(6))
        self.register_buffer('made', torch.rand(6) + torch.arange(6), persistent=False)

    def forward(self, x):
        assert self.scale.dim() == 0, 'a scale of one dimension would promote types'
        y = self.linear(x).tanh() * self.codes * self.scale + self.shift
        return x + self.frozen(y) * self.mean / self.made.sum()


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
        self.head = nn.Linear(6, 2)
        self.temperature = self.blocks[0].scale  # one parameter of two names

    def forward(self, x, mode='tensor'):
        # The last one in training only, as an auxiliary branch.
        for block in self.blocks[: None if self.training else -1]:
            x = block(x)
        return dict(loss=(self.head(x) * self.temperature).square().mean())


def build() -> Model:
    """Build the model; the first scale is in two units then, so that its block is none."""
    torch.manual_seed(0)
    return Model()


def batch(step: int, ranks) -> torch.Tensor:
    """Return what processes see of a step."""
    random = torch.Generator().manual_seed(step)
    return torch.randn(PROCESSES, 3, 6, generator=random)[ranks].flatten(0, -2)


def optimize(model: nn.Module) -> OptimWrapper:
    """Build the optimizer: clipped, and a step for two batches."""
    MessageHub.get_instance(f'run{random.random()}')
    trained = [p for p in model.parameters() if p.requires_grad]
    wrapper = OptimWrapper(
        torch.optim.AdamW(trained, lr=0.05), accumulative_counts=2, clip_grad=dict(max_norm=0.1)
    )
    wrapper.initialize_count_status(model, 0, 2 * STEPS + 2)  # one batch more waits for another
    return wrapper


def train(model: nn.Module, wrapper: OptimWrapper, ranks, first: int = 0) -> list[float]:
    """Make the steps; return the norms of the gradients before they were clipped."""
    for step in range(2 * first, 2 * STEPS):
        model.train_step(dict(x=batch(step, ranks)), wrapper)
    return [float(v) for v in wrapper.message_hub.get_scalar('train/grad_norm').data[0]]


def run(rank: int, folder: str, queue) -> None:
    """Shard and train the model in every way; leave what was found in a folder."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', rank=rank, world_size=PROCESSES)
    for way, (shape, options) in WAYS.items():
        names = ('shard',) if len(shape) == 1 else ('replicate', 'shard')
        _run_way(
            way, init_device_mesh('cpu', shape, mesh_dim_names=names), dict(options), rank, folder
        )
    _run_meta(rank, folder)
    dist.barrier()
    dist.destroy_process_group()


def _run_way(way, mesh, options, rank, folder) -> None:
    from mmadapt.files import write_sharded
    from mmadapt.memory.checkpointing import recompute
    from mmadapt.strategies.fsdp2.shard import Calls, Sharding, gathered
    from mmadapt.strategies.fsdp2.state import gather, model_state, serve_whole_state

    def sharded(wrapper_state=None, weights=None):
        model = build()
        if weights is not None:
            model.load_state_dict(weights)
        if way == 'recomputed':
            for block in model.blocks:
                recompute(block)
        sharding = Sharding(**dict(dict(mesh=mesh, units=['blocks.1', 'blocks.2']), **options))
        scalars = sharding.apply(model)
        Calls(model, sharding)
        wrapper = optimize(model)
        serve_whole_state(
            wrapper.optimizer, {p for n, p in model.named_parameters() if n in scalars}
        )
        if wrapper_state is not None:
            wrapper.load_state_dict(wrapper_state)
        return model, wrapper, scalars

    model, wrapper, scalars = sharded()
    found = dict(
        scalars=scalars,
        parts={
            n: p.to_local().numel() for n, p in model.named_parameters() if isinstance(p, DTensor)
        },
    )
    found['norms'] = train(model, wrapper, [rank])
    write_sharded(
        f'{folder}/{way}_folder',
        dict(
            state_dict=model_state(model, scalars),
            optimizer=wrapper.state_dict(),
            meta=dict(way=way),
        ),
    )
    found['state'] = gather(dict(model_state(model, scalars)))
    found['optimizer'] = gather(wrapper.state_dict())
    model.eval()
    with torch.no_grad():
        model(batch(0, [rank]))
    model.train()
    found['sharded_after_evaluation'] = all(
        isinstance(p, DTensor) for p in model.parameters() if p.is_floating_point()
    )
    # A batch whose gradients wait for a second one.
    model.train_step(dict(x=batch(0, [rank])), wrapper)
    with gathered(model):
        found['waiting'] = {
            n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad
        }
    model.eval()
    with torch.no_grad():
        model(batch(0, [rank]))
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.mul_(0.5)
    model.train()
    found['after_change'] = model(batch(0, [rank]))['loss'].item()
    if way in ('plain', 'copies'):
        _go_on(sharded, found, rank, folder, way)
    torch.save(found, f'{folder}/{way}_{rank}.pth')


def _go_on(sharded, found, rank, folder, way) -> None:
    """Go on after the second step with the state that one process has after it."""
    from mmadapt.strategies.fsdp2.state import gather, model_state

    truth = torch.load(f'{folder}/after_two.pth', weights_only=False)
    model, wrapper, scalars = sharded(copy.deepcopy(truth['optimizer']), truth['state'])
    train(model, wrapper, [rank], first=STEPS - 1)
    found['gone_on'] = gather(dict(model_state(model, scalars)))


def _run_meta(rank, folder) -> None:
    from mmadapt.strategies.fsdp2.meta import draw_as_first, without_values
    from mmadapt.strategies.fsdp2.shard import Sharding
    from mmadapt.strategies.fsdp2.state import gather, model_state

    if rank:
        with without_values():
            model = build()
        assert all(p.is_meta for p in model.parameters())
    else:
        model = build()
    for block in model.blocks:
        block.mean.fill_(7 if rank == 0 else 0)  # as if loaded
    draw_as_first()
    found = dict(drawn=torch.rand(3))
    scalars = Sharding(
        init_device_mesh('cpu', (PROCESSES,), mesh_dim_names=('shard',)), ['blocks.1', 'blocks.2']
    ).apply(model)
    found['state'] = gather(dict(model_state(model, scalars)))
    found['buffers'] = {n: b.clone() for n, b in model.named_buffers()}
    torch.save(found, f'{folder}/meta_{rank}.pth')
