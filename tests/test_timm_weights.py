"""Weights of timm that are in the cache are read without a network, and others said at once."""

import importlib.util
import time

import huggingface_hub
import pytest
import torch

from mmadapt import UserError
from mmadapt.config_files import CONFIGS
from mmadapt.hub_parts import building_from_the_cache, check_hub_parts
from mmadapt.timm_weights import check_timm_weights

SMALL = 'test_resnet.r160_in1k'  # of timm's own tests
NOBODY = 'http://127.0.0.1:9'  # where nobody listens


def model(**backbone):
    return dict(
        type='ImageClassifier',
        backbone=dict(dict(type='TIMMBackbone', model_name=SMALL, pretrained=True), **backbone),
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and no hub."""
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setenv('HF_ENDPOINT', NOBODY)
    monkeypatch.setattr(huggingface_hub.constants, 'ENDPOINT', NOBODY)
    return tmp_path / 'hub'


@pytest.fixture
def timm():
    return pytest.importorskip('timm', reason='timm is not installed')


def fill(cache, timm):
    """Put weights where the client of the hub looks for them."""
    from safetensors.torch import save_file

    torch.manual_seed(1)
    state = timm.create_model('test_resnet').state_dict()
    folder = cache / f'models--timm--{SMALL}'
    (folder / 'refs').mkdir(parents=True)
    (folder / 'refs' / 'main').write_text('a1')
    (folder / 'snapshots' / 'a1').mkdir(parents=True)
    save_file(state, folder / 'snapshots' / 'a1' / 'model.safetensors')
    return state


@pytest.mark.usefixtures('timm')
def test_weights_that_are_out_of_reach_are_one_line_at_once(cache):
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        check_hub_parts(model())
    assert time.monotonic() - began < 5
    line = str(caught.value)
    assert '\n' not in line
    assert line.startswith(
        f'model.backbone.pretrained=True: the weights of timm, timm/{SMALL}, are'
    )
    assert f'`hf download timm/{SMALL} model.safetensors`' in line
    assert '--cfg-options model.backbone.pretrained_cfg_overlay.file=FILE' in line


@pytest.mark.usefixtures('cache', 'timm')
@pytest.mark.parametrize(
    'changes',
    [
        dict(pretrained=False),
        dict(pretrained_cfg_overlay=dict(file='weights.pth')),
        dict(type='mmpretrain.ResNet'),
        dict(model_name='no_such_model'),  # which timm says itself
    ],
)
def test_what_reads_nothing_from_the_hub_is_left_in_peace(changes):
    check_timm_weights(model(**changes))


def test_weights_in_the_cache_are_read_without_asking_the_hub(cache, timm):
    wanted = fill(cache, timm)
    config = model()
    check_hub_parts(config)
    began = time.monotonic()
    with building_from_the_cache(config):
        built = timm.create_model(SMALL, pretrained=True)
    assert time.monotonic() - began < 8  # it waits 23 seconds otherwise
    assert all(torch.equal(value, wanted[key]) for key, value in built.state_dict().items())
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


@pytest.mark.usefixtures('timm')
def test_the_config_of_a_model_of_timm_is_said_before_anything_is_built(
    cache, tmp_path, monkeypatch
):
    pytest.importorskip('mmpretrain.models', exc_type=ImportError)
    from mmadapt.commands import inspect, train

    monkeypatch.chdir(tmp_path)
    leaf = str(CONFIGS / 'peft' / 'timm-densenet121_lora_face_cls.py')
    for command in (inspect, train):
        with pytest.raises(
            UserError, match='weights of timm, timm/densenet121.ra_in1k, are not in'
        ):
            command.main([leaf])
    assert not any(tmp_path.glob('work_dirs/*/*'))


def test_without_timm_the_package_is_named(monkeypatch):
    monkeypatch.setattr('mmadapt.timm_weights.find_spec', lambda name: None)
    with pytest.raises(
        UserError, match='needs the package timm, .* installed: mmadapt install cls'
    ):
        check_timm_weights(model(pretrained=False))
    assert importlib.util.find_spec('mmadapt')


@pytest.mark.usefixtures('cache')
def test_the_client_of_the_hub_waits_for_nothing_while_a_model_is_built(tmp_path):
    """A language model in the cache: each of its files was asked for five times."""
    language = dict(language_model=dict(name='bert-kept'))
    with building_from_the_cache(language):
        began = time.monotonic()
        with pytest.raises(huggingface_hub.errors.LocalEntryNotFoundError):
            huggingface_hub.hf_hub_download('bert-kept', 'config.json')
        assert time.monotonic() - began < 1
    # Of a folder, and of a model that names nothing, nothing is asked.
    language['language_model']['name'] = str(tmp_path)
    with building_from_the_cache(language):
        assert not huggingface_hub.constants.HF_HUB_OFFLINE
