"""What the runs of stock tools share."""

import pytest
from stock_runs import write_base, write_data


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
