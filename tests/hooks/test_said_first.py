"""The tools refuse before a runner is built, which would print the whole config first."""

import io
import re
from importlib import import_module
from urllib.error import URLError

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from stock_runs import CLASSES, LORA, write_config

from mmadapt import UserError, downloads
from mmadapt.files import read_checkpoint
from mmadapt.hooks.rehearsal import rehearse

URL = 'https://nowhere.invalid/base.pth'


@pytest.fixture
def refuse(data, bases, tmp_path, monkeypatch):
    """Call a tool on a small config, whose runner must not be built; returns what it says."""

    def never(*_, **__):
        raise AssertionError('a runner is being built')

    def _refuse(tool, *args, peft=None, base='given', options=(), extra=''):
        base = bases('rtmdet') if base == 'given' else base
        path = write_config(
            tmp_path,
            'rtmdet',
            data,
            base,
            peft,
            ema=False,
            extra=(extra if peft else f'custom_hooks = []\n{extra}'),
        )
        options = ['--cfg-options', *options] if options else []
        monkeypatch.setattr(Runner, '__init__', never)
        monkeypatch.setattr(downloads, 'urlopen', _offline)
        with pytest.raises(UserError) as caught:
            import_module(f'mmadapt.commands.{tool}').main(
                [*map(str, (path, *args, '--work-dir', tmp_path / 'run', *options))]
            )
        return str(caught.value)

    return _refuse


def _offline(*_, **__):
    raise URLError('no network')


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        (
            'coco/bbox_map',
            "save_best='coco/bbox_map': no evaluator of val_evaluator gives that; "
            'nearest: coco/bbox_mAP',
        ),
        ('coco/PQ', 'save_best=.coco/PQ.: Cannot infer the rule'),
    ],
)
def test_a_best_that_nothing_gives(name, said, refuse):
    assert re.search(said, refuse('train', options=[f'default_hooks.checkpoint.save_best={name}']))


def test_a_best_that_the_evaluator_of_the_config_gives_is_taken():
    from mmadapt.preflight import check_best

    cfg = dict(
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', save_best='coco/segm_mAP', rule='greater')
        ),
        val_cfg={},
        val_evaluator=dict(type='CocoMetric', metric=['bbox', 'segm']),
    )
    check_best(cfg)
    check_best({**cfg, 'val_evaluator': [dict(type='SomeMetric'), dict(type='CocoMetric')]})
    check_best({**cfg, 'val_cfg': None, 'val_evaluator': None})
    for other in (dict(type='CocoMetric'), dict(type='CocoMetric', metric='segm', prefix='own')):
        with pytest.raises(UserError, match='no evaluator'):
            check_best({**cfg, 'val_evaluator': other})


@pytest.mark.parametrize('peft', [None, LORA])
def test_a_base_that_cannot_be_had(peft, refuse):
    extra = (
        ''
        if peft
        else "memory = dict(checkpoint=['CSPLayer'])\ncustom_hooks = [dict(type='MemoryHook')]\n"
    )
    assert 'checkpoint nowhere.pth not found' in refuse(
        'train', peft=peft, base='nowhere.pth', extra=extra
    )
    assert f'cannot download {URL} (no network); fetch it by hand' in refuse(
        'train', peft=peft, base=URL
    )
    assert f'cannot download {URL} (no network)' in refuse('test', URL, peft=peft)
    for file, said in (
        (URL, f'cannot download {URL} (no network), with which backbone is initialized'),
        ('torchvision://resnet5', "no 'resnet5' for torchvision://; nearest: 'resnet50'"),
        ('no/backbone.pth', 'checkpoint no/backbone.pth not found'),
    ):
        assert said in refuse(
            'train',
            peft=peft,
            base=None,
            extra=(f"model['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint={file!r})"),
        )


def test_what_the_checkpoint_has_and_what_is_here_already_is_not_asked_for(
    data, bases, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        downloads, 'urlopen', lambda request, **_: asked.append(request.full_url) or io.BytesIO()
    )
    cfg = Config.fromfile(write_config(tmp_path, 'rtmdet', data, bases('rtmdet'), ema=False))
    cfg.work_dir = str(tmp_path)
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=URL)
    rehearse(cfg, trains=True)
    assert asked == []
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    cfg.load_from = URL
    rehearse(cfg, trains=True)
    assert asked == [URL]
    torch.save({}, tmp_path / 'checkpoints' / 'base.pth')
    assert downloads.why_not_downloaded(URL) is None
    assert asked == [URL]


def test_a_base_that_has_gone_at_a_resumed_run_and_at_a_test(finished, refuse, tmp_path):
    moved = tmp_path / 'epoch_1.pth'
    checkpoint = read_checkpoint(str(finished / 'run' / 'epoch_1.pth'))
    checkpoint['mmadapt']['base']['load_from'] = '/gone/base.pth'
    torch.save(checkpoint, moved)
    for arguments in (('train', '--resume', moved), ('test', moved)):
        said = refuse(*arguments, peft=LORA, options=['train_cfg.max_epochs=2'])
        assert 'the base model: checkpoint /gone/base.pth not found' in said
        assert 'peft.base=FILE' in said
        assert 'checkpoint no.pth not found' in refuse(
            *arguments, peft=LORA, options=['peft.base=no.pth']
        )


@pytest.mark.parametrize('peft', [None, LORA])
def test_a_model_of_other_classes(peft, refuse, bases, finished, data):
    extra = f"""
model['bbox_head']['num_classes'] = 1
test_dataloader['dataset']['metainfo'] = dict(classes=('{CLASSES[0]}', ))
"""
    said = refuse(
        'test',
        bases('rtmdet', 2) if peft is None else finished / 'run' / 'epoch_1.pth',
        peft=peft,
        extra=extra,
    )
    assert 'does not fit this config: bbox_head.rtm_cls.0.weight has the shape (2, ' in said
    if peft is not None:
        assert f'its classes are 2 ({", ".join(CLASSES)}), those of the data set here 1' in said


def test_a_checkpoint_of_what_was_trained_under_a_plain_config(refuse, finished):
    assert 'holds only what a training with `peft` has changed' in refuse(
        'test', finished / 'run' / 'epoch_1.pth'
    )


@pytest.mark.parametrize(
    ('option', 'said'),
    [
        (
            'model.bbox_head.num_clases=2',
            'model.bbox_head.num_clases: RTMDetSepBNHead takes no '
            "'num_clases'; nearest: 'num_classes'",
        ),
        (
            'model.backbone.type=CSPNext',
            "model.backbone.type='CSPNext': nothing of that name is "
            "registered for a model; nearest: 'CSPNeXt'",
        ),
        ('model.neck.norm_cfgs.type=BN', "model.neck.norm_cfgs: CSPNeXtPAFPN takes no 'norm_cfgs'"),
    ],
)
def test_a_misspelled_argument_of_the_model(option, said, refuse):
    for tool in (('train',), ('test', __file__)):
        assert said in refuse(*tool, options=[option])


def test_an_error_of_building_is_explained_only_if_it_is_one_of_names(monkeypatch):
    from mmengine.registry import MODELS

    from mmadapt.preflight import explain_building

    @MODELS.register_module('broken_inside', force=True)
    def build(size):
        raise TypeError("f() got an unexpected keyword argument 'other'")

    for cfg in (dict(type='broken_inside', size=3), dict(type='broken_inside')):
        with pytest.raises(TypeError) as caught:
            MODELS.build(cfg)
        assert explain_building(caught.value) is None
    with pytest.raises(TypeError) as caught:
        MODELS.build(dict(type='broken_inside', sice=3))
    assert (
        explain_building(caught.value, dict(model=dict(type='broken_inside', sice=3)))
        == "model.sice: build takes no 'sice'; nearest: 'size'"
    )
