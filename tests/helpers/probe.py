"""A hook that looks into the runs of stock tools: what must hold of an adapted model there."""

import copy
import json
import time
from pathlib import Path
from unittest import mock

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper, revert_sync_batchnorm
from mmengine.registry import HOOKS, MODELS

from mmadapt.adapters import AdapterLayer
from mmadapt.files import read_checkpoint
from mmadapt.peft import require_state


@HOOKS.register_module()
class Probe(Hook):
    """Writes what it finds, one JSON file a rank and event, and the trained tensors.

    Args:
        out (str): The folder to write into.
        sensitivity (list[str]): The events at which it is looked whether every adapter tensor acts
            in evaluation.
        gradients (list[str]): Other events, at which their gradients in training are looked at.
    """

    priority = 'LOWEST'

    def __init__(self, out, sensitivity=('train', 'test'), gradients=()):
        self.out = Path(out)
        self.sensitivity, self.gradients = sensitivity, gradients

    def before_train(self, runner):
        model = _model(runner)
        found = dict(
            optimizer=_optimizer_is_exact(runner, model),
            trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        )
        if runner._resume:
            self._write('resumed', model, found)
            return
        found.update(
            base_differs=_differences(model, runner._load_from),
            outputs_differ=_difference(_eval_outputs(model), _eval_outputs(_stock(runner, model))),
        )
        model.train()
        found['trainable_after_train'] = sum(
            p.numel() for p in model.parameters() if p.requires_grad
        )
        self._write('train', model, found)
        self._before = {k: v.clone() for k, v in model.state_dict().items()}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 != 3:
            return
        model = _model(runner)
        trained = {n for n, p in model.named_parameters() if p.requires_grad}
        names = dict(model.named_parameters())
        equal = {n: torch.equal(self._before[n], p) for n, p in names.items()}
        self._write(
            'moved',
            model,
            dict(
                at_rest=sorted(n for n in trained if equal[n]),
                drifted=sorted(n for n in names if n not in trained and not equal[n]),
            ),
        )
        torch.save({n: names[n].detach() for n in trained}, self.out / f'rank{get_rank()}.pth')

    def before_val_epoch(self, runner):
        self._write('val', _model(runner), {})

    def before_test_epoch(self, runner):
        model = _model(runner)
        self._write('test', model, {})
        if get_rank() == 0:
            torch.save(_eval_outputs(model), self.out / 'test_outputs.pth')

    def _write(self, event, model, found):
        if event in (*self.sensitivity, *self.gradients):
            found.update(_sensitivity(model, event in self.sensitivity))
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / f'{event}{get_rank()}.json').write_text(json.dumps(found))


def _model(runner):
    model = runner.model
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def _outputs(model) -> list:
    """Return everything that the layers of a detector compute on fixed input, in its mode."""
    generator = torch.Generator().manual_seed(5)
    features = model.extract_feat(torch.randn(1, 3, 64, 64, generator=generator))
    result = [*features]
    for name in ('bbox_head', 'rpn_head'):
        if hasattr(model, name):
            result += [t for level in getattr(model, name)(features) for t in level]
    if hasattr(model, 'roi_head'):
        regions = torch.randn(3, 256, 7, 7, generator=generator)
        result += model.roi_head.bbox_head(regions)
    return result


@torch.no_grad()
def _eval_outputs(model) -> list:
    mode = model.training
    model.eval()
    result = _outputs(model)
    model.train(mode)
    return result


def _difference(left, right) -> float:
    """Return the largest difference, relative to the largest value of its tensor."""
    return max(
        ((a - b).abs().max() / b.abs().max()).item() for a, b in zip(left, right, strict=True)
    )


def _differences(model, path) -> list:
    """Return the keys that the base has in this shape and the model in other values."""
    base, state = read_checkpoint(path)['state_dict'], model.state_dict()
    return [
        k for k, v in base.items() if v.shape == state[k].shape and not torch.equal(v, state[k])
    ]


def _stock(runner, model):
    stock = revert_sync_batchnorm(MODELS.build(copy.deepcopy(runner.cfg.model)))
    own = {
        f'{prefix}.{name}'
        for prefix, m in model.named_modules(remove_duplicate=False)
        if isinstance(m, AdapterLayer)
        for name in m.adapter_names
    }
    state = {k: v for k, v in model.state_dict().items() if k not in own}
    stock.load_state_dict(state, strict=True)
    return stock


def _optimizer_is_exact(runner, model) -> bool:
    held = [p for group in runner.optim_wrapper.param_groups for p in group['params']]
    wanted = [p for p in model.parameters() if p.requires_grad]
    return len(held) == len(wanted) and {id(p) for p in held} == {id(p) for p in wanted}


def _sensitivity(model, perturb) -> dict:
    """Return the adapter tensors that have no effect, if asked, and those without a gradient."""
    kept, mode = copy.deepcopy(model.state_dict()), model.training
    tensors = {
        f'{name}.{key}': getattr(model.get_submodule(name), key)
        for name in require_state(model).adapted
        for key in model.get_submodule(name).adapter_names
    }
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for tensor in tensors.values():
            tensor += 0.05 * torch.randn(tensor.shape, generator=generator)
    no_gradient = _without_gradient(model.train(), tensors)
    no_effect = []
    if perturb:
        no_effect = _without_gradient(model.eval(), tensors)
        reference = _eval_outputs(model)
    # One is moved after the other where nothing is recorded; a part of them, as each is a pass.
    for name, tensor in [*tensors.items()][:: 1 + len(tensors) // 24] if perturb else ():
        value = tensor.detach().clone()
        with torch.no_grad():
            tensor += torch.randn(tensor.shape, generator=generator) * tensor.abs().mean()
            if _difference(_eval_outputs(model), reference) == 0:
                no_effect.append(name)
            tensor.copy_(value)
    model.load_state_dict(kept)
    model.train(mode)
    model.zero_grad()
    found = dict(tensors=len(tensors), no_gradient=no_gradient)
    return dict(found, no_effect=no_effect) if perturb else found


def _without_gradient(model, tensors) -> list:
    """Return the names of tensors on which nothing that the model computes depends, in its mode."""
    model.zero_grad()
    with torch.enable_grad():
        sum(t.square().sum() for t in _outputs(model)).backward()
    return [n for n, t in tensors.items() if t.grad is None or not t.grad.abs().sum() > 0]


@HOOKS.register_module()
class SlowWrites(Hook):
    """Stops in the middle of writing the checkpoint of an epoch, for a test to kill the process.

    Args:
        epoch (int): The epoch, from 1.
    """

    def __init__(self, epoch):
        self.name = f'epoch_{epoch}.pth'

    def before_train(self, runner):
        from mmengine.fileio.backends.registry_utils import backends

        put = backends['local'].put

        def stop_half_way(backend, obj, filepath):
            half = str(filepath).endswith(self.name)
            with mock.patch.object(
                Path, 'write_bytes', _write_half_and_wait if half else Path.write_bytes
            ):
                put(backend, obj, filepath)

        backends['local'].put = stop_half_way


def _write_half_and_wait(path, content):
    with open(path, 'wb') as file:
        file.write(content[: len(content) // 2])
        file.flush()
        time.sleep(600)


@HOOKS.register_module()
class CountsInBuffer(Hook):
    """Gives the backbone a buffer that counts iterations, as some losses do."""

    priority = 0

    def before_run(self, runner):
        if not hasattr(_model(runner).backbone, 'counted'):
            _model(runner).backbone.register_buffer('counted', torch.zeros(1))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        _model(runner).backbone.counted += 1
