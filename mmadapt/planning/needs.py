"""What a training step needs, measured on shapes alone: on any machine, in seconds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.runner import set_random_seed
from torch import Tensor, nn
from torch.autograd.graph import _engine_run_backward

from ..config_model import build_model
from ..memory import MemoryConfig, apply_memory
from ..meters.like_cuda import like_cuda
from ..meters.shapes import ShapesOnly
from ..meters.tally import SavedActivations, optimizer_bytes
from ..optim.trained_only import build_for_trained
from ..peft import PEFTConfig, inject
from ..recipes.images import batch_for, drop_downloads
from ..recipes.run import SEED
from ..recipes.strategies import has_amp, strategy_of
from ..strategies.asked_run import hooks_of_config
from ..strategies.fsdp2.scalars import trained_scalars
from ..strategies.fsdp2.units import find_units

# Of what is computed in a backward pass and by an optimizer only counters are looked at.
_COUNTERS = 2**12


@dataclass(frozen=True)
class Needs:
    """The bytes of one process that trains a whole model by itself.

    Args:
        parameters (int): All weights and buffers.
        whole (int): Those of them that no strategy shards: buffers and quantized weights.
        average (int): The copy of all of them that an EMAHook keeps; 0 without one.
        trained (int): The weights that are trained; as much are their gradients.
        groups (tuple[tuple[int, ...], ...]): Of these, by group of the optimizer, those of each
            parameter.
        optimizer (int): The state of the optimizer.
        saved (int): What autograd keeps between forward and backward.
        activations (int): The most that a forward and a backward pass hold beside weights,
            gradients and optimizer: what is kept, and what is being computed.
        step (int): The most that a step of the optimizer holds beside these.
        largest (int): The weights of the largest block; of the blocks that FSDP2Strategy gathers
            one by one.
        rest (int): The weights in none of these blocks.
        scalars (tuple[str, ...]): The parameters that are trained and have no dimensions.
    """

    parameters: int
    whole: int
    average: int
    trained: int
    groups: tuple[tuple[int, ...], ...]
    optimizer: int
    saved: int
    activations: int
    step: int
    largest: int
    rest: int
    scalars: tuple[str, ...] = ()


def measure(cfg: Config) -> Needs:
    """Follow a training step of a config, as it would run on a GPU.

    Args:
        cfg (Config): A whole config, its images random ones
            (:func:`~mmadapt.recipes.images.use_images`).

    Returns:
        Needs: What it takes, in bytes.
    """
    set_random_seed(SEED)
    shapes = ShapesOnly()
    with shapes:
        model: Any = _build(cfg)
        wrapper = build_for_trained(
            lambda: build_optim_wrapper(model, cfg.optim_wrapper), MMLogger.get_current_instance()
        )
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_drop_gradient)
    before = shapes.live
    shapes.reset_peak()
    with shapes, like_cuda():
        amp = torch.autocast('cpu', torch.bfloat16, has_amp(cfg))
        with SavedActivations(model) as kept, amp:
            batch = batch_for(cfg, model)
            losses = model(**batch, mode='loss')
            loss = model.parse_losses(losses)[0]
            del losses, batch
            saved = kept.bytes()
        shapes.large = _COUNTERS
        _backward(loss)
        del loss, kept
        activations = shapes.peak - before
        step = _step(model, wrapper.optimizer, shapes)
    units = _units(model, cfg)
    everything = _bytes(model.parameters()) + _bytes(model.buffers())
    return Needs(
        parameters=everything,
        whole=everything - _sharded(model.parameters()),
        average=everything if has_average(cfg) else 0,
        trained=_bytes(p for p in model.parameters() if p.requires_grad),
        groups=tuple(
            tuple(p.nbytes for p in group['params']) for group in wrapper.optimizer.param_groups
        ),
        optimizer=optimizer_bytes(model, wrapper.optimizer),
        saved=saved,
        activations=activations,
        step=step,
        largest=max(units, default=0),
        rest=_sharded(model.parameters()) - sum(units),
        scalars=tuple(trained_scalars(model)),
    )


def has_average(cfg: Config) -> bool:
    """Return whether a hook of a config keeps a moving average of the whole model."""
    return any(hook.is_a(EMAHook) for hook in hooks_of_config(cfg))


def _build(cfg: Config) -> nn.Module:
    drop_downloads(cfg.model)
    model = revert_sync_batchnorm(build_model(cfg)).train()
    model.init_weights()
    if cfg.get('peft') is not None:
        peft = PEFTConfig.parse(dict(cfg.peft, allow_random_base=True))
        inject(model, peft, keep_base=False)
    apply_memory(model, MemoryConfig.parse(cfg.get('memory')))
    return model


def _backward(loss: Tensor) -> None:
    """Call the engine itself: inside of ``loss.backward()`` no mode of functions is active.

    What blocks recompute there would not be what they computed
    :func:`~mmadapt.meters.like_cuda.like_cuda`.
    """
    _engine_run_backward(
        (loss,),
        (torch.ones_like(loss),),
        False,
        False,
        (),
        allow_unreachable=True,
        accumulate_grad=True,
    )


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, shapes: ShapesOnly) -> int:
    """Make a step and return what it holds at its peak, without gradients and state."""
    for group in optimizer.param_groups:
        if 'foreach' in group:
            group['foreach'] = True  # as torch chooses on a GPU
        for parameter in group['params']:
            parameter.grad = torch.zeros_like(parameter)
    before = shapes.live
    shapes.reset_peak()
    optimizer.step()
    return max(0, shapes.peak - before - optimizer_bytes(model, optimizer))


def _drop_gradient(parameter: nn.Parameter) -> None:
    parameter.grad = None


def _units(model: nn.Module, cfg: Config) -> list[int]:
    """Return the bytes of the blocks that FSDP2 gathers, of each without those inside it."""
    kind, settings = strategy_of(cfg)
    names = find_units(model, settings['shard'] if kind == 'fsdp2' else None)
    sizes, counted = [], set()
    for name in reversed(names):  # inner ones come after outer ones
        own = [p for p in model.get_submodule(name).parameters() if p not in counted]
        counted.update(own)
        sizes.append(_sharded(own))
    return sizes


def _sharded(parameters: Iterable[nn.Parameter]) -> int:
    """Return the bytes of the weights that strategies shard: all but quantized ones."""
    return _bytes(p for p in parameters if p.is_floating_point())


def _bytes(tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors)
