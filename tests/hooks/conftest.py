"""What the runs of stock tools share."""

import pytest
from mmengine.config import Config
from mmengine.logging import MessageHub
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
    """Checkpoints of stock models, made when they are first asked for."""
    folder, made = tmp_path_factory.mktemp('bases'), {}

    def get(kind):
        if kind not in made:
            made[kind] = folder / f'{kind}.pth'
            write_base(made[kind], kind)
        return made[kind]

    return get


@pytest.fixture
def start(data, bases, tmp_path):
    """Run a model with a ``peft`` key in this process; returns the runner that has run."""

    def _start(peft=LORA, mode='train', base='given', kind='rtmdet', **changes):
        path = write_config(tmp_path, kind, data, bases(kind) if base == 'given' else base, peft)
        cfg = Config.fromfile(path)
        cfg.work_dir = str(tmp_path / 'run')
        cfg.train_dataloader.batch_size = 12
        cfg.visualizer = dict(type='Visualizer', vis_backends=[])
        cfg.merge_from_dict(changes)
        runner = Runner.from_cfg(cfg)
        getattr(runner, mode)()
        return runner

    yield _start
    MessageHub._instance_dict.clear()
