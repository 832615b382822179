"""A base that is quantized after DistributedDataParallel has wrapped the model."""

import torch
import torch.distributed as dist
from together import run_together
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmadapt import inject
from mmadapt.peft import quantize_base
from mmadapt.quantization import QuantizedLinear


def train(rank, processes, folder, queue=None):
    """Train on a share of the batch; rank 0 writes what it has learned."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(96, 32), nn.GELU(), nn.Linear(32, 8))
    weights = {key: 0.1 * torch.randn_like(value) for key, value in model.state_dict().items()}
    inject(
        model,
        dict(method=dict(type='DoRA', r=4), head='adapt', quant=dict(bits=4)),
        weights_follow=True,
    )
    wrapped = model
    if processes > 1:
        dist.init_process_group('gloo', rank=rank, world_size=processes)
        wrapped = DistributedDataParallel(model)
    model.load_state_dict({**model.state_dict(), **weights}, strict=False)
    quantize_base(model)
    assert isinstance(model[0], QuantizedLinear)
    for layer in (model[0], model[2]):
        layer.reset_adapter()
    x, target = torch.randn(3, 8, 96), torch.randn(3, 8, 8)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.5)
    share = slice(rank * 8 // processes, (rank + 1) * 8 // processes)
    for step in range(3):
        loss = (wrapped(x[step, share]) - target[step, share]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save(dict(model.named_parameters()), f'{folder}/{processes}_{rank}.pth')
    if processes > 1:
        dist.barrier()
        dist.destroy_process_group()


def test_two_processes_train_what_one_trains_on_the_joint_batch(bitsandbytes, tmp_path):
    run_together(train, 2, 2, str(tmp_path))
    train(0, 1, str(tmp_path))
    first, second, alone = (
        torch.load(tmp_path / f'{name}.pth', weights_only=False) for name in ('2_0', '2_1', '1_0')
    )
    for name, value in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-6)
