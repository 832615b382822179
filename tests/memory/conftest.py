"""A small DINO with Swin, steps of a detector, and what autograd keeps of them."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_dino import DINO, SMALL

from mmadapt.meters.step import SavedForBackward


@pytest.fixture(scope='session')
def saved_bytes():
    """Return a function that counts what autograd keeps of a call, each storage once."""

    def count(model, call):
        with SavedForBackward(model) as saved:
            result = call()
            return saved.bytes(), result

    return count


@pytest.fixture(scope='session')
def detector():
    """Return how to build stock detectors for training, and to make a step of one of them."""
    pytest.importorskip('mmdet', reason='MMDetection is not installed')
    import model_zoo
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    def build(name=DINO, changes=SMALL, **more):
        init_default_scope('mmdet')
        cfg = Config.fromfile(model_zoo._CONFIGS / name)
        cfg.merge_from_dict(dict(model=changes))
        cfg.merge_from_dict({f'model.{key}': value for key, value in more.items()})
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        if hasattr(model, 'level_embed'):
            torch.nn.init.normal_(model.level_embed)  # holds what was in memory
        return model.train()

    def loss(model):
        random.seed(2)
        np.random.seed(2)
        torch.manual_seed(2)
        losses = model.loss(*model_zoo.inputs())
        return model.parse_losses(losses)[0], losses

    def step(model):
        """Return losses, gradients and buffers of one step."""
        total, losses = loss(model)
        total.backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        flat = {
            key: torch.stack([v.detach() for v in ([value] if torch.is_tensor(value) else value)])
            for key, value in losses.items()
        }
        return flat, gradients, {n: b.clone() for n, b in model.named_buffers()}

    return SimpleNamespace(build=build, loss=loss, step=step)


@pytest.fixture(scope='session')
def assert_identical():
    """Return a check that what two steps returned is the same, bit by bit."""

    def check(ours, wanted):
        for mine, theirs in zip(ours, wanted, strict=True):
            assert mine.keys() == theirs.keys()
            assert theirs
            different = [key for key in theirs if not torch.equal(mine[key], theirs[key])]
            assert different == []

    return check
