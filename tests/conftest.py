"""What tests of several packages share."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine.runner import set_random_seed
from outcomes import (  # noqa: F401  the other two are hooks of pytest
    leave_out_what_has_run,
    pytest_addoption,
    pytest_terminal_summary,
)
from shortcuts import shortcuts
from torch.nn.modules.batchnorm import _BatchNorm

RTMDET = 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
# Folders whose files take minutes: they come first, so that no worker begins one when the other
# has nothing left to do.
LONG = ('hooks', 'runner', 'strategies', 'models', 'projects')


def pytest_collection_modifyitems(config, items):
    leave_out_what_has_run(config, items)
    items.sort(key=lambda item: item.path.parent.name not in LONG)


@pytest.fixture(autouse=True, scope='session')
def _short_runs_are_short():
    """Leave out what takes longer than a tiny run; see there."""
    with shortcuts():
        yield


@pytest.fixture(autouse=True)
def _same_random_numbers():
    """Let a test draw the same random numbers, whatever ran before it in this process."""
    set_random_seed(0)


@pytest.fixture(autouse=True)
def _no_process_group_is_left(monkeypatch):
    """End the processes' group that a strategy makes of one process; other tests have none."""
    before = dist.is_initialized()
    monkeypatch.setenv('LOCAL_RANK', '0')  # which it sets; taken back with this
    monkeypatch.delenv('LOCAL_RANK')
    yield
    if dist.is_initialized() and not before:
        dist.destroy_process_group()


@pytest.fixture(scope='session')
def build_detector():
    """Return a function that builds a detector of one of MMDetection's own configs.

    Its arguments are the config's name, the number of categories, and changes of ``model`` as in
    ``--cfg-options``. The weights are random and always the same; nothing is downloaded.
    """
    pytest.importorskip('mmdet', reason='MMDetection is not installed')
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    configs = Path(importlib.util.find_spec('mmdet').origin).parent / '.mim' / 'configs'
    built = {}

    def build(name=RTMDET, num_classes=2, **changes):
        from mmdet.registry import MODELS

        init_default_scope('mmdet')
        key = (name, num_classes, str(changes))
        if key not in built:
            cfg = Config.fromfile(configs / name)
            cfg.merge_from_dict(dict(model=changes))
            _adjust(cfg.model, num_classes)
            torch.manual_seed(0)
            built[key] = MODELS.build(cfg.model)
            _calibrate(built[key])
        return copy.deepcopy(built[key])

    return build


def _calibrate(model) -> None:
    """Give BatchNorm the statistics of random weights, or nothing reaches the deeper layers."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad():
        maps = model.extract_feat(torch.randn(2, 3, 64, 64)) if norms else None
        head = getattr(model, 'bbox_head', None)
        if head is not None and any(norm in set(head.modules()) for norm in norms):
            head(maps)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _adjust(node, num_classes: int) -> None:
    """Set the number of categories and drop what would download weights, at any depth."""
    if isinstance(node, dict):
        if (node.get('init_cfg') or {}).get('type') == 'Pretrained':
            node['init_cfg'] = None
        if 'num_classes' in node:
            node['num_classes'] = num_classes
    if isinstance(node, (dict, list, tuple)):
        for item in node.values() if isinstance(node, dict) else node:
            _adjust(item, num_classes)
