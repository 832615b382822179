"""A language model that is not there is said at once, in one line, with what brings it."""

import importlib.util
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from pathlib import Path

import huggingface_hub
import pytest
import transformers
from det_leaves import write_bert
from mmengine.registry import MODELS, init_default_scope
from packaging.requirements import Requirement

from mmadapt import UserError, hub
from mmadapt.compat.versions import NO_MMPRETRAIN
from mmadapt.config_files import CONFIGS
from mmadapt.downloads import Refusal
from mmadapt.language_models import check_language_models

LEAF = CONFIGS / 'peft' / 'mm-grounding-dino_swin-t_lora_face.py'
ROOT = Path(__file__).resolve().parents[1]


def model(name):
    return dict(type='A', detector=[dict(language_model=dict(type='BertModel', name=str(name)))])


@pytest.fixture(autouse=True)
def _nothing_has_been_asked():
    hub.refusal.cache_clear()


@pytest.fixture
def bert(tmp_path):
    write_bert(tmp_path / 'bert')
    return tmp_path / 'bert'


@pytest.fixture
def server(monkeypatch):
    """A server in the place of Hugging Face, which has one model."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == '/there/resolve/main/config.json' else 404)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(('127.0.0.1', 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv('HF_ENDPOINT', f'http://127.0.0.1:{server.server_port}/')
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def said(name):
    with pytest.raises(UserError) as caught:
        check_language_models(model(name))
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_what_it_takes_for_whole_is_what_mmdetection_builds(bert):
    check_language_models(model(bert))
    init_default_scope('mmdet')
    MODELS.build(dict(type='BertModel', name=str(bert)))


@pytest.mark.parametrize('file', ['config.json', 'vocab.txt', 'model.safetensors'])
def test_a_folder_that_lacks_a_file_is_named_with_it(file, bert):
    (bert / 'tokenizer.json').unlink(missing_ok=True)
    (bert / file).unlink()
    assert f'model.detector.0.language_model.name: the folder {bert} lacks {file}' in said(bert)
    init_default_scope('mmdet')
    with pytest.raises((ImportError, OSError, RuntimeError, TypeError)):
        MODELS.build(dict(type='BertModel', name=str(bert)))


def test_without_transformers_the_package_is_named(bert, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert said(bert).endswith('which is not installed: mmadapt install text')


def test_the_version_that_the_extra_brings_fits_mmpretrain():
    extra = Requirement((ROOT / 'requirements' / 'text.txt').read_text().splitlines()[-2])
    assert extra.name == 'transformers'
    assert not extra.specifier.contains(NO_MMPRETRAIN)
    assert extra.specifier.contains(transformers.__version__)


def test_without_a_network_it_is_said_before_anything_waits(monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')  # where nobody listens
    began = time.monotonic()
    line = said('bert-that-is-nowhere')
    assert time.monotonic() - began < 5
    assert (
        'is no folder here, is not in the cache of Hugging Face, and cannot be downloaded' in line
    )
    assert '`hf download bert-that-is-nowhere --local-dir bert`' in line
    assert '--cfg-options model.detector.0.language_model.name=bert' in line


def test_who_has_been_told_connects_and_asks_again(monkeypatch):
    answers = [Refusal('no network'), None]
    monkeypatch.setattr(hub, 'ask', lambda address: answers.pop(0))
    assert '(no network)' in said('there')
    check_language_models(model('there'))
    check_language_models(model('there'))  # and is not asked a third time
    assert not answers


@pytest.mark.usefixtures('server')
def test_the_network_is_asked_and_its_answer_taken(monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', 'false')  # which its client does not take for set either
    check_language_models(model('there'))
    assert '(Not Found)' in said('not-there')
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    assert '(HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set)' in said('there')


def test_what_is_in_the_cache_is_not_asked_for(bert, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    folder = tmp_path / 'hub' / 'models--bert-kept'
    shutil.copytree(bert, folder / 'snapshots' / 'a1')
    (folder / 'refs').mkdir()
    (folder / 'refs' / 'main').write_text('a1')
    check_language_models(model('bert-kept'))
    (folder / 'snapshots' / 'a1' / 'model.safetensors').unlink()
    assert 'is not in the cache' in said('bert-kept')


@pytest.mark.parametrize('command', ['inspect', 'train', 'plan --memory 24GiB'])
def test_commands_say_it(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    name, *words = command.split()
    words += ['--cfg-options', 'model.language_model.name=bert-base-none']
    main = import_module(f'mmadapt.commands.{name}').main
    with pytest.raises(
        UserError, match=r'^model\.language_model\.name=bert-base-none is no folder'
    ):
        main([str(LEAF), *words])
