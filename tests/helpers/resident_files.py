"""A base of three classes, two adapters of it for others, and images."""

import pytest
from residents import write_adapter, write_base, write_images


class Files:
    """Where they are."""


@pytest.fixture(scope='session')
def files(tmp_path_factory):
    folder, files = tmp_path_factory.mktemp('residents'), Files()
    files.folder = folder
    files.base = str(folder / 'base.pth')
    files.cfg = write_base(folder / 'base.pth', ('cat', 'dog', 'car'))
    files.cfg.dump(folder / 'base_config.py')
    files.config = str(folder / 'base_config.py')
    files.face = write_adapter(folder / 'face', folder / 'base.pth', ('face', 'mask'), seed=1)
    files.boats = write_adapter(folder / 'boats', folder / 'base.pth', ('boat', 'cat'), seed=2)
    files.images = write_images(folder / 'images')
    return files
