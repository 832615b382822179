"""What the runs of stock tools share."""

import pytest
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from stock_runs import LORA, write_base, write_config, write_data


@pytest.fixture(scope='session')
def data(tmp_path_factory):
    """A tiny data set in COCO format."""
    folder = tmp_path_factory.mktemp('data')
    write_data(folder)
    return folder


@pytest.fixture(scope='session')
def bases(tmp_path_factory):
    """Checkpoints of stock models, by default for COCO's classes, made when first asked for."""
    folder, made = tmp_path_factory.mktemp('bases'), {}

    def get(kind, num_classes=80):
        if (kind, num_classes) not in made:
            made[kind, num_classes] = folder / (
                f'{kind}.pth' if num_classes == 80 else f'{kind}_{num_classes}.pth'
            )
            write_base(made[kind, num_classes], kind, num_classes)
        return made[kind, num_classes]

    return get


@pytest.fixture
def start(data, bases, tmp_path):
    """Run a model with a ``peft`` key in this process; returns the runner that has run."""

    def _start(peft=LORA, mode='train', base='given', kind='rtmdet', **changes):
        base = bases(kind) if base == 'given' else base
        return _run(tmp_path, kind, data, base, peft, mode, changes)

    yield _start
    MessageHub._instance_dict.clear()


def _run(folder, kind, data, base, peft, mode, changes):
    cfg = Config.fromfile(write_config(folder, kind, data, base, peft))
    cfg.work_dir = str(folder / 'run')
    cfg.train_dataloader.batch_size = 12
    cfg.visualizer = dict(type='Visualizer', vis_backends=[])
    cfg.merge_from_dict(changes)
    runner = (RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg)(cfg)
    getattr(runner, mode)()
    return runner


@pytest.fixture(scope='session')
def finished(data, bases, tmp_path_factory):
    """The folder of a finished training of RTMDet: ``config.py``, ``run/epoch_1.pth`` and so on."""
    folder = tmp_path_factory.mktemp('finished')
    _run(folder, 'rtmdet', data, bases('rtmdet'), {**LORA, 'export': 'state_dict'}, 'train', {})
    MessageHub._instance_dict.clear()
    return folder
