"""Mixed precision and several processes where there is no accelerator."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack

import pytest
import torch
from mmengine.device import get_device
from mmengine.dist import init_dist
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import AmpOptimWrapper
from together import meeting, run_together
from torch import nn

import mmadapt
from mmadapt.cli.children import child
from mmadapt.compat.cpu import repair_cpu

pytestmark = pytest.mark.skipif(get_device() != 'cpu', reason='this machine has an accelerator')


@pytest.mark.parametrize('loss_scale', ['dynamic', 512.0, dict(init_scale=256.0)])
def test_mixed_precision_can_be_built_and_trains_in_bfloat16(loss_scale):
    torch.manual_seed(0)
    model, kinds = nn.Linear(4, 1), []
    model.register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    wrapper = AmpOptimWrapper(loss_scale, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    x, losses = torch.randn(16, 4), []
    target = x.sum(1, keepdim=True)
    for _ in range(30):
        with wrapper.optim_context(model):
            loss = (model(x) - target).square().mean()
        wrapper.update_params(loss)
        losses.append(loss.item())
    assert set(kinds) == {torch.bfloat16}
    assert losses[-1] < 0.01 * losses[0]
    assert model.weight.dtype == torch.float32
    restored = AmpOptimWrapper(loss_scale, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    restored.load_state_dict(wrapper.state_dict())


def test_mixed_precision_takes_one_step_as_without_to_the_precision_of_bfloat16():
    def train(build):
        torch.manual_seed(0)
        model = nn.Linear(4, 1)
        wrapper = build(torch.optim.SGD(model.parameters(), lr=0.1))
        with wrapper.optim_context(model):
            loss = model(torch.ones(2, 4)).mean()
        wrapper.update_params(loss)
        return model.weight.detach()

    from mmengine.optim import OptimWrapper

    torch.testing.assert_close(
        train(lambda o: AmpOptimWrapper(optimizer=o)),
        train(lambda o: OptimWrapper(optimizer=o)),
        rtol=0,
        atol=2e-3,
    )


def test_repairing_twice_wraps_nothing_twice():
    before = MMDistributedDataParallel.__init__, AmpOptimWrapper.__init__
    repair_cpu()
    assert (MMDistributedDataParallel.__init__, AmpOptimWrapper.__init__) == before


def _run(rank, queue):
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
    # As stock tools do: the backend of every config is NCCL.
    init_dist('pytorch', backend='nccl')
    torch.manual_seed(rank)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4), nn.Flatten(), nn.Linear(144, 1))
    mmadapt.inject(model, dict(method=dict(type='LoRA', r=2), norm='train'))
    model = MMDistributedDataParallel(model, device_ids=[rank], broadcast_buffers=False)
    norm = type(model.module[1]).__name__
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(2, 3, 8, 8)).square().mean().backward()
        optimizer.step()
    tensors = {name: p.detach().numpy() for name, p in model.module.named_parameters()}
    # `_leave` runs at exit: neither process may abort.
    queue.put(
        (rank, torch.distributed.get_backend(), norm, tensors, model.module[1].running_mean.numpy())
    )


def test_two_processes_train_a_model_with_sync_batchnorm_and_end_alike():
    (_, backend, norm, first, mean), (_, _, _, second, other) = sorted(
        run_together(_run, 2, results=2), key=lambda result: result[0]
    )
    assert backend == 'gloo'
    assert norm == '_BatchNormXd'
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)
    assert (first['0.lora_B'] != 0).any()
    assert (mean != other).any()  # each of its own batch: BatchNorm, no longer synchronized


# Each way of leaving in two processes, which end as any Python does: forked off one that has
# imported everything. The parent prints the ways and the processes' exit codes.
_EXITS = """
import json, os, sys, threading, torch
from mmengine.dist import init_dist
import mmadapt

def processes(meeting):
    os.environ.update(meeting)
    started = []
    for rank in range(2):
        started.append(os.fork())
        if started[-1] == 0:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
            return None
    return [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in started]

def leave(how):
    init_dist('pytorch', backend='nccl')
    torch.distributed.all_reduce(torch.ones(1))
    thread = threading.Thread(target=sys.exit, args=(4, ))  # ends the thread only
    thread.start()
    thread.join()
    if torch.distributed.get_rank():
        exec(how)
    torch.distributed.all_reduce(torch.ones(1))

for how, meeting in json.loads(sys.argv[1]).items():
    codes = processes(meeting)
    if codes is None:
        leave(how)
        break
    print(json.dumps([how, codes]), flush=True)
"""


def test_a_process_that_leaves_in_the_middle_keeps_no_other_waiting():
    wanted = {
        'sys.exit(3)': [1, 3],
        'sys.exit("why")': [1, 1],
        'raise ValueError': [1, 1],
        'pass': [0, 0],
    }
    with ExitStack() as meetings:
        ways = {how: meetings.enter_context(meeting()) for how in wanted}
        with child(
            [sys.executable, '-c', _EXITS, json.dumps(ways)],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            printed = process.communicate(timeout=200)[0]
    assert dict(map(json.loads, printed.splitlines())) == wanted
