"""Weights of timm that are in the cache are read without a network, and others said at once."""

import importlib.util
import time

import huggingface_hub
import pytest
import torch

from mmadapt import UserError, hub
from mmadapt.config_files import CONFIGS
from mmadapt.downloads import Refusal
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
    hub.refusal.cache_clear()
    return tmp_path / 'hub'


@pytest.fixture
def asked(cache, monkeypatch):
    """What the hub is asked for; it answers what a test puts there, or that it is not found."""

    class Asked(list):
        def __init__(self):
            self.answers = {}

    asked = Asked()
    monkeypatch.setattr(hub, '_ADDRESS', '')
    monkeypatch.delenv('HF_ENDPOINT')

    def ask(address):
        asked.append(address)
        return asked.answers.get(address, Refusal('Not Found', status=404))

    monkeypatch.setattr(hub, 'ask', ask)
    return asked


@pytest.fixture
def timm():
    return pytest.importorskip('timm', reason='timm is not installed')


def put(cache, name, *files):
    """Put empty files where the client of the hub looks for them; return the folder."""
    folder = cache / f'models--{name.replace("/", "--")}'
    (folder / 'refs').mkdir(parents=True)
    (folder / 'refs' / 'main').write_text('a1')
    (folder / 'snapshots' / 'a1').mkdir(parents=True)
    for file in files:
        (folder / 'snapshots' / 'a1' / file).touch()
    return folder / 'snapshots' / 'a1'


def fill(cache, timm):
    """Put weights where the client of the hub looks for them."""
    from safetensors.torch import save_file

    torch.manual_seed(1)
    state = timm.create_model('test_resnet').state_dict()
    save_file(state, put(cache, f'timm/{SMALL}') / 'model.safetensors')
    return state


def language(*names):
    return [dict(language_model=dict(name=name)) for name in names]


WHOLE = ('config.json', 'vocab.txt', 'model.safetensors')


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
        dict(pretrained_cfg_overlay=dict(hf_hub_id=None)),
        dict(pretrained_cfg_overlay=dict(no_such_key=1)),  # which timm says itself
        dict(model_name='local-dir:folder'),
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


def test_the_client_of_the_hub_waits_for_nothing_while_a_model_is_built(cache, tmp_path):
    """A language model in the cache: each of its files was asked for five times."""
    put(cache, 'bert-kept', *WHOLE)
    with building_from_the_cache(language('bert-kept')):
        began = time.monotonic()
        with pytest.raises(huggingface_hub.errors.LocalEntryNotFoundError):
            huggingface_hub.hf_hub_download('bert-kept', 'tokenizer.json')
        assert time.monotonic() - began < 1
    # Of a folder, and of a model that names nothing, nothing is asked.
    with building_from_the_cache(language(str(tmp_path))):
        assert not huggingface_hub.constants.HF_HUB_OFFLINE


@pytest.mark.parametrize(
    ('names', 'answer', 'offline'),
    [
        (['kept'], Refusal('no network'), True),
        (['kept'], Refusal('timed out', slow=True), True),
        (['kept'], Refusal('Not Found', status=404), False),
        (['kept'], Refusal('Unauthorized', status=401), False),
        (['kept'], None, False),
        (['kept', 'new'], Refusal('no network'), False),  # the client may get the other
    ],
)
def test_the_hub_is_left_out_where_nobody_answers_and_nothing_is_missing(
    names, answer, offline, asked, cache
):
    put(cache, 'kept', *WHOLE)
    asked.answers['/kept/resolve/main/config.json'] = answer
    for _ in range(2):
        with building_from_the_cache(language(*names)):
            assert offline == huggingface_hub.constants.HF_HUB_OFFLINE
    assert len(asked) == (names == ['kept'])  # once in a process


HERE = f'/timm/{SMALL}/resolve/main'
MINE = '/me/mine/resolve/main'
UPON = 'pretrained_cfg_overlay'


@pytest.mark.usefixtures('timm')
@pytest.mark.parametrize(
    ('changes', 'wanted'),
    [
        ({}, [f'{HERE}/model.safetensors', f'{HERE}/pytorch_model.bin']),
        ({UPON: dict(url='http://a/b.pth')}, [f'{HERE}/model.safetensors']),
        ({UPON: dict(hf_hub_filename='own.pt')}, [f'{HERE}/own.pt']),
        ({UPON: dict(hf_hub_filename='own.bin')}, [f'{HERE}/own.safetensors', f'{HERE}/own.bin']),
        ({UPON: dict(hf_hub_id='me/mine')}, [f'{MINE}/model.safetensors']),
        ({UPON: dict(hf_hub_id='me/mine@v/2')}, ['/me/mine/resolve/v%2F2/model.safetensors']),
        (dict(pretrained_cfg=dict(hf_hub_id='me/mine')), [f'{MINE}/model.safetensors']),
        (
            dict(model_name='test_resnet', pretrained_cfg='r160_in1k'),
            [f'{HERE}/model.safetensors'],
        ),
        (dict(model_name='hf-hub:me/mine', pretrained=False), [f'{MINE}/config.json']),
    ],
)
def test_the_file_that_timm_reads_is_the_one_asked_for(changes, wanted, asked):
    asked.answers[wanted[-1]] = None
    check_timm_weights(model(**changes))
    assert asked == wanted
    check_timm_weights(model(**changes))
    assert asked == wanted  # once in a process


@pytest.mark.usefixtures('timm')
def test_only_where_all_files_fail_the_weights_are_refused(asked):
    with pytest.raises(UserError, match=r'cannot be downloaded \(Not Found\)'):
        check_timm_weights(model())
    assert len(asked) == 2
    asked.answers[f'{HERE}/model.safetensors'] = Refusal('no network')
    with pytest.raises(UserError, match=r'cannot be downloaded \(no network\)'):
        check_timm_weights(model())
    assert len(asked) == 3  # of which the other file would say the same


@pytest.mark.usefixtures('timm')
@pytest.mark.parametrize('status', [401, 403])
def test_a_private_repository_is_left_to_the_client_which_has_a_token(status, asked):
    asked.answers[f'{MINE}/model.safetensors'] = Refusal('no entry', status)
    check_timm_weights(model(pretrained_cfg_overlay=dict(hf_hub_id='me/mine')))
    assert len(asked) == 1


@pytest.mark.usefixtures('timm')
def test_weights_in_a_cache_of_their_own_are_not_asked_for(asked, tmp_path):
    put(tmp_path / 'own', f'timm/{SMALL}', 'pytorch_model.bin')
    check_timm_weights(model(cache_dir=str(tmp_path / 'own')))
    assert asked == []


@pytest.mark.usefixtures('asked', 'timm')
def test_a_model_of_the_hub_is_replaced_by_its_folder():
    with pytest.raises(UserError) as caught:
        check_timm_weights(model(model_name='hf-hub:me/mine@v2'))
    line = str(caught.value)
    assert line.startswith('model.backbone.model_name=hf-hub:me/mine@v2: its files config')
    assert '`hf download me/mine --revision v2 --local-dir FOLDER`' in line
    assert line.endswith('--cfg-options model.backbone.model_name=local-dir:FOLDER names')


@pytest.mark.usefixtures('timm')
@pytest.mark.parametrize('pretrained', [True, False])
def test_a_tag_that_timm_does_not_know_is_said_with_the_nearest(pretrained, asked):
    with pytest.raises(UserError) as caught:
        check_timm_weights(model(model_name='test_resnet.r160_in2k', pretrained=pretrained))
    assert str(caught.value) == (
        "model.backbone.model_name='test_resnet.r160_in2k': timm knows no such weights of "
        f'test_resnet; nearest: {SMALL!r}'
    )
    with pytest.raises(UserError, match="pretrained_cfg='nope': .* nearest: 'r160_in1k'"):
        check_timm_weights(model(pretrained_cfg='nope', pretrained=pretrained))
    # A config of its own goes before the tag.
    check_timm_weights(model(model_name='test_resnet.nope', pretrained_cfg=dict(file='a')))
    assert asked == []
