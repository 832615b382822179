"""What is left of what a base knew, on the base's own data."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from PIL import Image

from mmadapt.commands.test import main
from mmadapt.errors import UserError
from mmadapt.files import read_checkpoint
from mmadapt.inference import forgetting
from mmadapt.inference.forgetting import _relabel, check_cases, parse_cases

CLASSES = ('cat', 'dog', 'car')


@pytest.fixture
def config(files, tmp_path, monkeypatch):
    """The base's own config, whose data are what it sees itself, so that it has all to lose."""
    from mmdet.apis import inference_detector, init_detector

    monkeypatch.chdir(tmp_path)
    model = init_detector(files.config, files.base, device='cpu', palette='random', cfg_options={})
    images, annotations = [], []
    for number, path in enumerate(files.images, 1):
        with Image.open(path) as image:
            width, height = image.size
        images.append(dict(id=number, file_name=path, width=width, height=height))
        seen = inference_detector(model, path).pred_instances
        for label in range(3):
            for box in seen.bboxes[seen.labels == label][:2].tolist():
                x1, y1, x2, y2 = box
                size = dict(bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1))
                annotations.append(
                    dict(
                        size, id=len(annotations) + 1, image_id=number, category_id=label, iscrowd=0
                    )
                )
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES)]
    content = dict(images=images, annotations=annotations, categories=categories)
    (tmp_path / 'val.json').write_text(json.dumps(content))
    cfg = Config.fromfile(files.config)
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False, batch_size=1)
    cfg.test_dataloader.dataset.update(
        data_root='', ann_file='val.json', data_prefix=dict(img=''), metainfo=dict(classes=CLASSES)
    )
    cfg.test_evaluator.ann_file = 'val.json'
    cfg.test_evaluator.classwise = True
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.train_cfg = cfg.train_dataloader = cfg.optim_wrapper = cfg.param_scheduler = None
    cfg.custom_hooks, cfg.load_from = [], None
    cfg.dump('config.py')
    return 'config.py'


def measured(config, files, **cases):
    words = [f'{name}={place}' for name, place in cases.items()]
    out = Path(config).stem  # each run's own: MMEngine keeps one visualizer a second
    main([config, files.base, '--work-dir', out, '--forgetting', *words])
    (file,) = Path(out).rglob('forgetting.json')
    return {case['name']: case for case in json.loads(file.read_text())}


def test_an_adapter_that_is_off_has_cost_nothing(config, files, capsys):
    found = measured(config, files, boats=files.boats, face=files.face)
    base = found['base']['metrics']
    assert base['coco/bbox_mAP'] > 0.2
    for name in ('boats', 'face'):
        assert found[f'{name}, off']['metrics'] == base
        assert found[f'{name}, on']['metrics'] != base
    assert found['boats, on']['kept'] == 1  # cats
    assert found['face, on']['kept'] == 0
    assert found['face, on']['metrics'].get('coco/bbox_mAP', 0) == 0
    printed = capsys.readouterr().out
    assert '(+0.000)' in printed
    assert '1 of 3' in printed


def test_an_average_that_the_config_keeps_does_not_take_an_adapter_s_place(config, files):
    wanted = measured(config, files, face=files.face)
    cfg = Config.fromfile(config)
    cfg.custom_hooks = [dict(type='EMAHook', ema_type='ExpMomentumEMA', update_buffers=True)]
    cfg.dump('averaged.py')
    found = measured('averaged.py', files, face=files.face)
    assert found['face, on'] == wanted['face, on'] != found['base']
    assert found['face, off']['metrics'] == found['base']['metrics'] == wanted['base']['metrics']


def test_other_weights_are_counted_under_the_base_s_labels(config, files, tmp_path):
    """The base with its rows in another order, one of them lost to a new class."""
    checkpoint = read_checkpoint(files.base)
    state = checkpoint['state_dict']
    for key in [key for key in state if 'rtm_cls' in key]:
        dog, cat, new = state[key][1:2], state[key][0:1], torch.zeros_like(state[key][:1]) - 9
        state[key] = torch.cat([dog, new, cat, new])
    meta = dict(dataset_meta=dict(classes=('dog', 'face', 'cat', 'mask')))
    torch.save(dict(meta=meta, state_dict=state), tmp_path / 'full.pth')
    found = measured(config, files, full='full.pth')
    before, after = found['base']['metrics'], found['full']['metrics']
    assert found['full']['kept'] == 2
    # NMS is by class, so that what it says of cats and dogs is the same.
    for name in ('cat', 'dog'):
        assert after[f'coco/{name}_precision'] == before[f'coco/{name}_precision'] > 0
    assert after['coco/car_precision'] == 0 < before['coco/car_precision']


def test_label_maps_and_classes_of_images_are_counted_so_too():
    table = torch.tensor([2, -1, 0])
    sample = _relabel(Sample(PixelData(data=torch.tensor([[[0, 1, 2, 2]]]))), table, 3)
    assert sample.pred_sem_seg.data.tolist() == [[[2, 3, 0, 0]]]
    pytest.importorskip('mmpretrain')
    from mmpretrain.structures import DataSample

    image = DataSample().set_pred_score(torch.tensor([0.2, 0.5, 0.3]))
    image = _relabel(image, table, 3)
    torch.testing.assert_close(image.pred_score, torch.tensor([0.3, 0.0, 0.2]))
    assert image.pred_label.tolist() == [0]


class Sample(SimpleNamespace):
    """A sample with nothing but a label map."""

    def __init__(self, pred_sem_seg):
        super().__init__(pred_sem_seg=pred_sem_seg)

    def __contains__(self, name):
        return hasattr(self, name)


def test_a_sample_without_labels_of_classes_is_refused():
    sample = SimpleNamespace(pred_instances=InstanceData(keypoints=torch.zeros(1, 3, 2)))
    sample = type('S', (), dict(__contains__=lambda *_: False, **vars(sample)))()
    with pytest.raises(UserError, match='cannot count what is in a S'):
        _relabel(sample, torch.tensor([0]), 1)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['face'], 'write NAME=PLACE'),
        (['a=b', 'a=c'], 'names a twice'),
        (['base=b'], 'base is what is tested itself; choose another name'),
    ],
)
def test_wrong_words_are_one_line(words, message):
    with pytest.raises(UserError, match=message):
        parse_cases(words)


def test_a_place_that_is_not_there_is_said_before_anything_is_built(config, files):
    with pytest.raises(UserError, match='there is no checkpoint gone.pth'):
        main([config, files.base, '--forgetting', 'a=gone.pth'])


def test_what_is_wrong_with_a_case_is_said_before_the_base_is_tested(
    config, files, tmp_path, monkeypatch
):
    """Which takes hours on COCO, and whose figures would be lost with it."""
    monkeypatch.setattr(
        'mmadapt.commands.test.rehearse', lambda *_, **__: pytest.fail('it goes on')
    )
    state = torch.load(files.base, weights_only=True)
    state['state_dict']['backbone.stem.0.conv.weight'] += 1
    torch.save(state, tmp_path / 'other.pth')
    nameless = dict(meta=dict(), state_dict=state['state_dict'])
    torch.save(nameless, tmp_path / 'nameless.pth')
    torch.save(dict(meta=state['meta'], state_dict={}), tmp_path / 'empty.pth')
    for base, case, message in (
        ('other.pth', f'face={files.face}', 'was trained on other base weights than this model'),
        (files.base, f'face={files.face[:-1]}', r'there is no such adapter; nearest: \S+/face$'),
        (files.base, 'full=nameless.pth', 'nameless.pth does not say what its classes are called'),
        (files.base, 'full=empty.pth', 'empty.pth is no whole checkpoint of this model: it has no'),
    ):
        with pytest.raises(UserError, match=message):
            main([config, base, '--forgetting', case])
    cfg = Config.fromfile(config)
    cfg.default_scope = 'mmpose'
    with pytest.raises(UserError, match='cannot count points of poses; it knows boxes, masks, la'):
        check_cases(cfg, files.base, dict(face=files.face))


def test_what_is_loaded_is_said_before(files, monkeypatch):
    """A large base takes minutes, before the run says its first word."""
    said, seen = [], []
    monkeypatch.setattr('mmadapt.inference.forgetting.say', said.append)
    for name in ('open_resident', 'load_adapter'):
        load = getattr(forgetting, name)

        def noting(*args, load=load, **options):
            seen.append(len(said))
            return load(*args, **options)

        monkeypatch.setattr(forgetting, name, noting)
    cases = dict(face=files.face, boats=files.boats)
    check_cases(Config.fromfile(files.config), files.base, cases)
    assert seen == [1, 2, 3]
    for line, place in zip(said, (files.base, files.face, files.boats), strict=True):
        assert str(place) in line
