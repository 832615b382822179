"""One resident model, its base and adapters: each sees what it would see alone."""

import copy

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmengine.config import Config

import mmadapt
from mmadapt.errors import UserError
from mmadapt.files import rebuild
from mmadapt.inference import Instance
from mmadapt.inference.instances import join

NONE = dict(none='')


def same(found, wanted):
    assert len(found) == len(wanted) > 0
    for key in ('bboxes', 'scores', 'labels'):
        assert torch.equal(found[key], wanted[key]), key


def alone(files, folder=None):
    """What MMDetection's own functions see with the base, or with an adapter, in each image."""
    cfg = copy.deepcopy(files.cfg)
    if folder is None:
        model = init_detector(cfg, files.base, device='cpu', palette='random', cfg_options={})
    else:
        cfg.model.bbox_head.num_classes = 2
        model = mmadapt.config_model.build_model(cfg)
        rebuild(model, folder)
        model.cfg = cfg
        model.eval()
    return [inference_detector(model, image).pred_instances for image in files.images]


@pytest.fixture(scope='module')
def together(files):
    inferencer = mmadapt.Inferencer(
        files.face, dict(NONE, face=files.face, boats=files.boats), device='cpu', merge_iou=None
    )
    return inferencer, [*inferencer(files.images)]


def test_the_base_sees_bit_for_bit_what_it_saw_before_there_were_adapters(files, together):
    for result, wanted in zip(together[1], alone(files), strict=True):
        same(result.samples['none'][0].pred_instances, wanted)


@pytest.mark.parametrize('name', ['face', 'boats'])
def test_an_adapter_beside_others_sees_what_it_sees_alone(files, together, name):
    wanted = alone(files, getattr(files, name))
    for result, expected in zip(together[1], wanted, strict=True):
        same(result.samples[name][0].pred_instances, expected)


def test_objects_have_the_names_of_what_has_seen_them(together):
    names = {'none': {'cat', 'dog', 'car'}, 'face': {'face', 'mask'}, 'boats': {'boat', 'cat'}}
    for result in together[1]:
        for adapter, allowed in names.items():
            seen = [each for each in result.instances if each.adapter == adapter]
            assert len(seen) == len(result.samples[adapter][0].pred_instances)
            assert {each.name for each in seen} <= allowed
        scores = [each.score for each in result.instances]
        assert scores == sorted(scores, reverse=True)


def test_a_switch_costs_once_for_many_images(files, monkeypatch):
    inferencer = mmadapt.Inferencer(files.face, dict(NONE, face=files.face), device='cpu')
    switched = []
    switch = inferencer.resident.switch
    monkeypatch.setattr(
        inferencer.resident, 'switch', lambda name: (switched.append(name), switch(name))
    )
    assert len([*inferencer(files.images * 4)]) == 12
    assert switched == ['none', 'face']


def test_arrays_are_seen_as_the_files_they_come_from(files):
    import mmcv

    inferencer = mmadapt.Inferencer(files.face, device='cpu')
    arrays = [mmcv.imread(image) for image in files.images]
    for found, wanted in zip(inferencer(arrays), inferencer(files.images), strict=True):
        same(
            found.samples['adapter'][0].pred_instances, wanted.samples['adapter'][0].pred_instances
        )


def test_images_at_once_are_seen_as_one_at_a_time_where_they_have_one_size(files):
    images = [files.images[0]] * 3
    one = mmadapt.Inferencer(files.face, device='cpu')
    three = mmadapt.Inferencer(files.face, device='cpu', batch_size=3)
    for found, wanted in zip(three(images), one(images), strict=True):
        assert [each.name for each in found.instances] == [each.name for each in wanted.instances]
        np.testing.assert_allclose(
            [each.box for each in found.instances],
            [each.box for each in wanted.instances],
            atol=0.05,
        )


def test_a_config_with_its_checkpoint_and_adapters_of_it(files):
    inferencer = mmadapt.Inferencer(
        copy.deepcopy(files.cfg), dict(NONE, face=files.face), files.base, 'cpu'
    )
    result = next(iter(inferencer(files.images[:1])))
    same(result.samples['none'][0].pred_instances, alone(files)[0])
    same(result.samples['face'][0].pred_instances, alone(files, files.face)[0])


def test_a_stock_checkpoint_alone(files):
    inferencer = mmadapt.Inferencer(copy.deepcopy(files.cfg), checkpoint=files.base, device='cpu')
    result = next(iter(inferencer(files.images[:1])))
    same(result.samples['none'][0].pred_instances, alone(files)[0])
    assert {each.name for each in result.instances} <= {'cat', 'dog', 'car'}


def box(name, score, x, adapter, size=10.0):
    return Instance(name, score, (x, 0.0, x + size, size), adapter, 0)


def test_of_one_class_in_one_place_the_surest_stays_and_no_other_is_touched():
    # Boxes of 10 x 10 that are 2 apart share 80 of 120: an IoU of 2/3; 4 apart, 60 of 140: 3/7.
    instances = [
        box('cat', 0.5, 0, 'a'),
        box('cat', 0.9, 2, 'b'),  # the same cat, surer
        box('dog', 0.4, 0, 'b'),  # another class in the same place
        box('cat', 0.8, 3, 'b'),  # its own neighbor, which its own NMS has left
        box('cat', 0.3, 40, 'a'),  # elsewhere
        box('cat', 0.2, 6, 'a'),  # overlaps 2 and 3 by 3/7 and 7/13
    ]
    kept = join(instances, 0.55)
    assert [(each.score, each.adapter) for each in kept] == [
        (0.9, 'b'),
        (0.8, 'b'),
        (0.4, 'b'),
        (0.3, 'a'),
        (0.2, 'a'),
    ]
    assert [each.score for each in join(instances, 0.5)] == [0.9, 0.8, 0.4, 0.3]
    assert len(join(instances, 1.0)) == len(instances)


def test_joining_can_be_left_out(files):
    adapters = dict(NONE, boats=files.boats)  # both know cats
    joined, apart = (
        [*mmadapt.Inferencer(files.face, adapters, device='cpu', merge_iou=iou)(files.images)]
        for iou in (0.3, None)
    )
    counts = [[len(r.instances) for r in results] for results in (joined, apart)]
    assert sum(counts[0]) < sum(counts[1])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(adapters=dict(face='gone')), 'face=gone: there is no adapter folder gone'),
        (dict(merge_iou=2), 'merge_iou must be from 0 to 1'),
        (dict(batch_size=0), 'batch_size'),
        (dict(source='gone'), 'gone is no adapter folder'),
        (dict(adapters=dict(none='face')), 'none=face: none is the base itself, without a folder'),
        (dict(adapters=dict(face='')), 'face has no folder: the base itself is called none'),
        (
            dict(checkpoint='gone.pth'),
            r'gone.pth not found.*--checkpoint FILE of `mmadapt predict`',
        ),
    ],
)
def test_wrong_arguments_are_one_line(files, changes, message):
    with pytest.raises(UserError, match=message):
        mmadapt.Inferencer(**dict(dict(source=files.face, device='cpu'), **changes))


def test_an_adapter_of_another_base_is_refused(files, tmp_path):
    state = torch.load(files.base, weights_only=True)
    state['state_dict']['backbone.stem.0.conv.weight'] += 1
    torch.save(state, tmp_path / 'other.pth')
    with pytest.raises(UserError, match='was trained on other base weights than this model holds'):
        mmadapt.Inferencer(files.face, checkpoint=str(tmp_path / 'other.pth'), device='cpu')


def test_an_adapter_of_another_model_is_refused(files):
    cfg = Config.fromfile(files.config)
    cfg.model.neck.out_channels = 48
    cfg.model.bbox_head.update(in_channels=48, feat_channels=48)
    with pytest.raises(UserError, match='another|shape|does not'):
        mmadapt.Inferencer(cfg, dict(face=files.face), files.base, 'cpu')


def test_a_base_without_a_head_is_not_asked_what_it_sees(files, tmp_path):
    state = torch.load(files.base, weights_only=True)
    state['state_dict'] = {
        key: value for key, value in state['state_dict'].items() if 'rtm_cls' not in key
    }
    torch.save(state, tmp_path / 'headless.pth')
    path = str(tmp_path / 'headless.pth')
    with pytest.raises(UserError, match=r'none: the base .* has no weights for bbox_head.rtm_cls'):
        mmadapt.Inferencer(files.face, dict(NONE, face=files.face), path, 'cpu')
    inferencer = mmadapt.Inferencer(files.face, dict(face=files.face), path, 'cpu')
    result = next(iter(inferencer(files.images[:1])))
    same(result.samples['face'][0].pred_instances, alone(files, files.face)[0])


def test_a_checkpoint_of_other_classes_than_the_config_is_refused(files):
    cfg = Config.fromfile(files.config)
    cfg.model.bbox_head.num_classes = 5
    with pytest.raises(UserError, match='does not fit this config: it has no bbox_head.rtm_cls'):
        mmadapt.Inferencer(cfg, checkpoint=files.base, device='cpu')
