"""Files and folders are whole or not there, whatever interrupts the writing."""

import multiprocessing
import os
import signal
import stat
import threading
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend, backends, get_file_backend
from mmengine.runner import save_checkpoint

from mmadapt import UserError
from mmadapt.errors import WriteError
from mmadapt.files import (
    atomic,
    replace_folder,
    write_atomically,
    write_checkpoints_atomically,
)


class Crash(BaseException):
    """Like KeyboardInterrupt, no Exception."""


def half(path):
    Path(path).write_text('half')
    raise Crash


def in_another_process(act):
    """Return how a process ended that did nothing else."""
    process = multiprocessing.get_context('fork').Process(target=act)
    process.start()
    process.join()
    return process.exitcode


def test_a_file_is_written_and_its_folder_made(tmp_path):
    path = tmp_path / 'a' / 'b' / 'file.pth'
    write_atomically(path, lambda temporary: Path(temporary).write_text('whole'))
    assert path.read_text() == 'whole'
    assert os.listdir(path.parent) == ['file.pth']


@pytest.mark.parametrize('old', [None, 'old'])
def test_a_crash_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, old):
    path = tmp_path / 'file.pth'
    if old:
        path.write_text(old)
    with pytest.raises(Crash):
        write_atomically(path, half)
    assert os.listdir(tmp_path) == (['file.pth'] if old else [])
    assert old is None or path.read_text() == old


def test_a_kill_while_writing_leaves_the_old_file_and_nothing_that_looks_like_a_checkpoint(
    tmp_path,
):
    (tmp_path / 'epoch_1.pth').write_text('old')

    def write(path):
        Path(path).write_text('half')
        os.kill(os.getpid(), signal.SIGKILL)

    code = in_another_process(lambda: write_atomically(tmp_path / 'epoch_1.pth', write))
    assert code == -9
    assert (tmp_path / 'epoch_1.pth').read_text() == 'old'
    visible = [name for name in os.listdir(tmp_path) if not name.startswith('.')]
    assert visible == ['epoch_1.pth']
    assert not [
        name for name in os.listdir(tmp_path) if name.endswith('.pth') and name != 'epoch_1.pth'
    ]


@pytest.mark.parametrize(('mask', 'mode'), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_an_ordinary_new_file(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / 'file', lambda path: Path(path).write_text('x'))
        replace_folder(tmp_path / 'folder', lambda path: (path / 'file').write_text('x'))
    finally:
        assert os.umask(before) == mask
    for path in (tmp_path / 'file', tmp_path / 'folder' / 'file'):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / 'folder').stat().st_mode) == 0o777 & ~mask


@pytest.mark.parametrize('at_once', [True, False])
def test_a_folder_is_replaced_as_a_whole(at_once, tmp_path, monkeypatch):
    if not at_once:
        monkeypatch.setattr(atomic, '_exchange', lambda *_: False)
    folder = tmp_path / 'new' / 'adapter'
    replace_folder(folder, lambda path: (path / 'old').write_text('1'))
    replace_folder(folder, lambda path: (path / 'new').write_text('2'))
    assert os.listdir(folder) == ['new']
    assert os.listdir(folder.parent) == ['adapter']


@pytest.mark.parametrize('exists', [True, False])
def test_a_link_stays_and_the_folder_that_it_leads_to_is_replaced(tmp_path, exists):
    place, link = tmp_path / 'disk' / 'adapter', tmp_path / 'runs' / 'latest'
    link.parent.mkdir()
    if exists:
        replace_folder(place, lambda path: (path / 'old').write_text('1'))
    link.symlink_to('../disk/adapter')
    replace_folder(link, lambda path: (path / 'new').write_text('2'))
    assert link.is_symlink()
    assert os.listdir(link) == os.listdir(place) == ['new']
    assert os.listdir(place.parent) == ['adapter']
    assert os.listdir(link.parent) == ['latest']


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / 'a').symlink_to('b')
    (tmp_path / 'b').symlink_to('a')
    with pytest.raises(UserError, match='a is a symbolic link that leads to itself; remove it'):
        replace_folder(tmp_path / 'a', lambda path: (path / 'new').write_text('2'))
    assert sorted(os.listdir(tmp_path)) == ['a', 'b']


def test_a_crash_while_a_folder_is_filled_leaves_the_old_one_and_nothing_else(tmp_path):
    folder = tmp_path / 'adapter'
    replace_folder(folder, lambda path: (path / 'old').write_text('1'))
    with pytest.raises(Crash):
        replace_folder(folder, lambda path: half(path / 'new'))
    assert os.listdir(folder) == ['old']
    assert os.listdir(tmp_path) == ['adapter']


def test_a_kill_while_a_folder_is_replaced_leaves_one_under_its_name(tmp_path, monkeypatch):
    """Killed between the two renamings, if there are two: then the name is nobody's."""
    folder = tmp_path / 'epoch_1.pth'
    replace_folder(folder, lambda path: (path / 'old').write_text('1'))
    replace, calls = os.replace, []

    def kill_at_second(*names):
        calls.append(names)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*names)

    monkeypatch.setattr(os, 'replace', kill_at_second)
    in_another_process(lambda: replace_folder(folder, lambda path: (path / 'new').write_text('2')))
    assert os.listdir(folder) == ['new']


def test_a_crash_between_the_two_moves_puts_the_old_folder_back(tmp_path, monkeypatch):
    folder = tmp_path / 'adapter'
    replace_folder(folder, lambda path: (path / 'old').write_text('1'))
    replace, calls = os.replace, []

    def crash_at_second(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise Crash
        replace(source, target)

    monkeypatch.setattr(os, 'replace', crash_at_second)
    monkeypatch.setattr(atomic, '_exchange', lambda *_: False)
    with pytest.raises(Crash):
        replace_folder(folder, lambda path: (path / 'new').write_text('2'))
    assert os.listdir(folder) == ['old']
    assert os.listdir(tmp_path) == ['adapter']


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / 'file'
    sizes = (200_000, 400_000)

    def write(size):
        write_atomically(path, lambda temporary: Path(temporary).write_bytes(b'x' * size))

    write(sizes[0])
    seen, done = set(), threading.Event()

    def read():
        while not done.is_set():
            seen.add(len(path.read_bytes()))

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(30):
        write(sizes[i % 2])
    done.set()
    reader.join()
    assert seen
    assert seen <= set(sizes)


def test_mmengine_saves_its_checkpoints_so(tmp_path, monkeypatch):
    before = backends.registry_utils.backends.copy()
    prefixes = backends.registry_utils.prefix_to_backends.copy()
    try:
        write_checkpoints_atomically()
        path = tmp_path / 'epoch_1.pth'
        save_checkpoint(dict(state_dict=dict(a=torch.ones(3))), str(path))
        assert torch.load(path, weights_only=True)['state_dict']['a'].sum() == 3
        get_file_backend(str(path)).put_text('name', str(tmp_path / 'last_checkpoint'))
        assert (tmp_path / 'last_checkpoint').read_text() == 'name'
        monkeypatch.setattr(os, 'replace', lambda *_: (_ for _ in ()).throw(OSError('disk full')))
        with pytest.raises(WriteError, match='epoch_1.pth cannot be written: disk full'):
            save_checkpoint(dict(state_dict=dict(a=torch.zeros(3))), str(path))
        assert torch.load(path, weights_only=True)['state_dict']['a'].sum() == 3
        assert sorted(os.listdir(tmp_path)) == ['epoch_1.pth', 'last_checkpoint']
        assert isinstance(get_file_backend(str(path)), LocalBackend)
    finally:
        backends.registry_utils.backends.clear()
        backends.registry_utils.backends.update(before)
        backends.registry_utils.prefix_to_backends.clear()
        backends.registry_utils.prefix_to_backends.update(prefixes)
