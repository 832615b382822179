"""Checkpoints, wherever they come from, are read without running code that they hold."""

import functools
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from mmengine.runner import CheckpointLoader

from mmadapt import UserError
from mmadapt.files import read_checkpoint
from mmadapt.files.loader import _guarded


class RunsCode:
    """What unpickling makes of it is a call."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (self.file,)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def malicious(tmp_path):
    """A checkpoint that makes a folder when it is unpickled."""
    path = tmp_path / 'served' / 'malicious.pth'
    path.parent.mkdir()
    torch.save(dict(state_dict={}, meta=RunsCode(str(tmp_path / 'made'))), path)
    return path


@pytest.fixture
def address(malicious, tmp_path, monkeypatch):
    """The same, behind an address, and torch's cache of downloads in a folder of its own."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'hub'))
    monkeypatch.setenv('no_proxy', '*')
    handler = functools.partial(Quiet, directory=str(malicious.parent))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}/{malicious.name}'
        server.shutdown()


def test_a_file_is_refused_and_not_run(malicious, tmp_path):
    with pytest.raises(UserError, match='mkdir, which could run code when it is read'):
        read_checkpoint(str(malicious))
    assert not (tmp_path / 'made').exists()


def test_what_is_downloaded_is_refused_and_not_run(address, tmp_path):
    with pytest.raises(UserError, match='mkdir, which could run code when it is read'):
        read_checkpoint(address)
    assert not (tmp_path / 'made').exists()


def test_a_loader_that_allows_code_is_overruled(malicious, tmp_path):
    """As onedl-mmengine's, which tries it where the safe way has failed."""
    load = _guarded(functools.partial(torch.load, weights_only=False))
    with pytest.raises(Exception, match='Weights only load failed'):
        load(str(malicious))
    assert not (tmp_path / 'made').exists()


def test_whoever_reads_otherwise_is_left_alone(malicious, tmp_path):
    read = functools.partial(CheckpointLoader.load_checkpoint, map_location='cpu')
    with pytest.raises(Exception, match='Weights only load failed'):
        read(str(malicious))
    torch.load(malicious, weights_only=False)
    assert (tmp_path / 'made').exists()
