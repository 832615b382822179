"""Two processes with half a batch each against one with all of it."""

import sys

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, load_checkpoint, set_random_seed

import mmadapt


def main() -> None:
    cfg = Config.fromfile(sys.argv[1])
    dist.init_process_group('gloo')
    init_default_scope('mmdet')
    from mmdet.registry import MODELS

    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    load_checkpoint(model, sys.argv[2])
    mmadapt.inject(model, dict(method=dict(type='LoRA', r=4, alpha=8), head='adapt'))
    for name, parameter in model.named_parameters():
        if name.endswith('lora_B'):
            parameter.data += 0.01 * torch.randn_like(parameter)
    cfg.train_dataloader.update(batch_size=4, sampler=dict(type='DefaultSampler', shuffle=False))
    model.double()  # so that a difference is a wrong gradient, not the order of a sum
    # The data loader of one process: both ranks see the same four images.
    batch = next(iter(_loader(cfg)))
    half = {key: value[2 * dist.get_rank() :][:2] for key, value in batch.items()}

    wrapped = MMDistributedDataParallel(model, find_unused_parameters=False)
    _loss(wrapped, model, half).backward()
    joint = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    gathered = [None, None]
    dist.all_gather_object(gathered, {n: g.sum().item() for n, g in joint.items()})
    assert gathered[0] == gathered[1], 'the ranks hold different gradients'
    model.zero_grad()
    dist.barrier()
    dist.destroy_process_group()

    _loss(model, model, batch).backward()
    worst = max(
        ((p.grad - joint[n]).norm() / (p.grad.norm() + 1e-12)).item()
        for n, p in model.named_parameters()
        if p.requires_grad
    )
    print(f'largest relative difference {worst}')


def _loader(cfg):
    set_random_seed(0)
    loader = cfg.train_dataloader.copy()
    loader.sampler = dict(type='InfiniteSampler', shuffle=False)
    import mmengine.dataset.sampler as sampler

    sampler.get_dist_info = lambda: (0, 1)
    return Runner.build_dataloader(loader, seed=0)


def _loss(forward, model, batch) -> torch.Tensor:
    # A mean over images: MMDetection's own losses are normalized by counts of matched boxes.
    inputs = model.data_preprocessor(batch, training=True)['inputs'].double()
    levels = [t for part in forward(inputs, mode='tensor') for t in part]
    return sum(level.square().mean() for level in levels)


if __name__ == '__main__':
    main()
