"""What is said when a file cannot be written, and that nothing is lost then.

A limit on the size of files stands for a full disk: the system refuses to write more in either
case, and libraries report both in the same way.
"""

import errno
import os
import resource
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from mmadapt import UserError, inject, save_adapter
from mmadapt.errors import WriteError
from mmadapt.files import (
    BaseRecord,
    check_can_write,
    export_hf,
    full_disk,
    replace_folder,
    write_atomically,
    write_merged,
)
from mmadapt.files.atomic import AtomicLocalBackend


@contextmanager
def files_of_at_most(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def model():
    model = nn.Sequential(nn.Linear(200, 200), nn.Linear(200, 2))
    inject(model, dict(method=dict(type='LoRA', r=64), targets=['0'], head='freeze'))
    return model


WRITERS = dict(
    state_dict=lambda model, path: write_merged(path, model, None, 'state_dict'),
    safetensors=lambda model, path: write_merged(path, model, None, 'safetensors'),
    full_torch_model=lambda model, path: write_merged(path, model, None, 'full_torch_model'),
    adapter=save_adapter,
    hugging_face=export_hf,
    bytes=lambda model, path: AtomicLocalBackend().put(b'x' * 50_000, path),
)


@pytest.mark.parametrize('writer', WRITERS)
def test_a_full_disk_is_one_line_with_the_path_and_the_older_file_is_whole(writer, model, tmp_path):
    path = str(tmp_path / 'out')
    WRITERS[writer](model, path)
    before = _content(path)
    with torch.no_grad():
        model[0].lora_B.add_(1)
    with (
        files_of_at_most(20_000),
        pytest.raises(WriteError, match=f'^{path} cannot be written: File too large$'),
    ):
        WRITERS[writer](model, path)
    assert _content(path) == before
    assert os.listdir(tmp_path) == ['out'], 'a part of the new one was left behind'


def _content(path):
    files = [path] if os.path.isfile(path) else [os.path.join(path, n) for n in os.listdir(path)]
    return {file: open(file, 'rb').read() for file in files}


def test_a_full_disk_says_how_much_is_free(tmp_path):
    def write(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(WriteError, match=r'No space left on device \(\d+\.\d MB are free\)'):
        write_atomically(tmp_path / 'new' / 'file', write)
    quota = full_disk(OSError(errno.EDQUOT, 'Disk quota exceeded', str(tmp_path / 'x' / 'log')))
    assert str(quota).startswith(f'{tmp_path}/x/log cannot be written: Disk quota exceeded (')
    unnamed = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(full_disk(unnamed)) == 'a file cannot be written: No space left on device'
    assert str(full_disk(unnamed, str(tmp_path))).startswith(
        f'a file in {tmp_path} cannot be written: No space left on device ('
    )
    assert full_disk(OSError(errno.EACCES, 'Permission denied')) is None


@pytest.mark.parametrize('writer', WRITERS)
def test_a_place_where_nothing_can_be_written_is_one_line(writer, model, tmp_path):
    (tmp_path / 'file').touch()
    path = str(tmp_path / 'file' / 'new' / 'out')
    with pytest.raises(WriteError, match=f'^{path} cannot be written: Not a directory'):
        WRITERS[writer](model, path)
    with pytest.raises(WriteError, match=f'^{path} cannot be written: Not a directory'):
        check_can_write(path)


def test_looking_whether_a_file_can_be_written_makes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / 'a' / 'b' / 'file', tmp_path / 'file', 'file', 'a/file'):
        check_can_write(path)
    assert os.listdir(tmp_path) == []


@contextmanager
def as_anybody():
    """Not as the superuser, who writes everywhere."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_read_only_folder_is_one_line():
    folder = Path(tempfile.mkdtemp())  # those of pytest can be entered by their owner alone
    folder.chmod(0o555)
    try:
        for refused in (check_can_write, lambda path: write_atomically(path, open)):
            with (
                as_anybody(),
                pytest.raises(
                    WriteError, match=f'^{folder}/out.pth cannot be written: Permission denied$'
                ),
            ):
                refused(folder / 'out.pth')
    finally:
        folder.rmdir()


def test_an_error_of_ours_or_of_the_content_stays_what_it_is(tmp_path):
    for error in (UserError('this'), ValueError('that'), RuntimeError('other')):

        def write(_, error=error):
            raise error

        for writer in (write_atomically, replace_folder):
            with pytest.raises(type(error), match=str(error)) as raised:
                writer(tmp_path / 'out', write)
            assert type(raised.value) is type(error)


def test_ctrl_c_inside_the_writer_of_torch_stays_one(tmp_path):
    class Interrupted:
        """A file that is interrupted in `write`, as one on a slow disk can be."""

        def __init__(self, file):
            self.file, self.written = file, 0

        def write(self, data):
            self.written += 1
            if self.written == 3:
                raise KeyboardInterrupt
            return self.file.write(data)

        def flush(self):
            self.file.flush()

    def write(path):
        with open(path, 'wb') as file:
            torch.save(torch.ones(1000), Interrupted(file))

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / 'out', write)
    assert os.listdir(tmp_path) == []


def test_saving_does_not_write_into_the_record_of_the_base(model, tmp_path):
    base = BaseRecord(load_from='/models/base.pth')
    before = base.to_dict()
    save_adapter(model, str(tmp_path / 'one'), base)
    export_hf(model, str(tmp_path / 'hf'), base)
    assert base.to_dict() == before
