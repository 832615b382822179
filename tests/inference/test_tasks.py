"""Pose, segmentation and classification: what the libraries' own functions see, and files of it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from adapting import perturb
from mmengine.hub import get_config
from PIL import Image
from residents import write_images

import mmadapt
from mmadapt.commands.predict import main
from mmadapt.config_model import build_model
from mmadapt.errors import UserError
from mmadapt.files import BaseRecord
from mmadapt.files.described_model import DescribedModel

POINTS = dict(
    dataset_name='face',
    keypoint_info={
        0: dict(id=0, name='left_eye', swap='right_eye', color=[1, 2, 3], type='upper'),
        1: dict(id=1, name='right_eye', swap='left_eye', color=[4, 5, 6], type='upper'),
        2: dict(id=2, name='nose', swap='', color=[7, 8, 9], type='upper'),
    },
    skeleton_info={0: dict(id=0, link=('left_eye', 'right_eye'), color=[9, 9, 9])},
    joint_weights=[1.0, 1.0, 1.0],
    sigmas=[0.1, 0.1, 0.1],
)


def shrink(cfg, size):
    for step in cfg.test_dataloader.dataset.pipeline:
        for key in ('scale', 'crop_size', 'size'):
            if key in step and step['type'] != 'ResizeEdge':
                step[key] = size
    cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline  # which MMSegmentation reads
    return cfg


def rtmpose(tmp_path):
    cfg = get_config('mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py')
    cfg.model.backbone.init_cfg = None
    cfg.model.head.out_channels = 3
    return cfg, POINTS


def rtmo(tmp_path):
    cfg = get_config('mmpose::body_2d_keypoint/rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py')
    cfg.model.backbone.init_cfg = None
    # As a training's own file has it, which is not there for whoever gets the folder.
    file = tmp_path / 'points.py'
    file.write_text(f'dataset_info = {POINTS!r}')
    cfg.model.head.num_keypoints = 3
    cfg.model.head.assigner.oks_calculator.metainfo = str(file)
    cfg.model.head.loss_oks.metainfo = str(file)
    cfg.model.test_cfg.update(score_thr=0.0)
    for step in cfg.test_dataloader.dataset.pipeline:
        if 'input_size' in step:
            step['input_size'] = (96, 96)
    return cfg, POINTS


def segformer(tmp_path):
    cfg = get_config('mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py')
    cfg.model.backbone.init_cfg = None
    cfg.model.decode_head.num_classes = 3
    return shrink(cfg, (64, 64)), dict(
        classes=('sky', 'road', 'car'), palette=[[0, 0, 255], [90, 90, 90], [255, 0, 0]]
    )


def resnet(tmp_path):
    cfg = get_config('mmpretrain::resnet/resnet18_8xb32_in1k.py')
    cfg.model.head.num_classes = 3
    cfg.model.head.topk = (1,)
    return cfg, dict(classes=('cat', 'dog', 'car'))


TASKS = dict(mmpose=rtmpose, rtmo=rtmo, mmseg=segformer, mmpretrain=resnet)


@pytest.fixture(params=TASKS)
def task(request, tmp_path, monkeypatch):
    """The name of a task, the adapted model, its config, its folder, and images."""
    library = 'mmpose' if request.param == 'rtmo' else request.param
    pytest.importorskip(dict(mmpose='mmpose.datasets', mmseg='mmseg.models').get(library, library))
    cfg, meta = TASKS[request.param](tmp_path)
    if library == 'mmpose':
        from mmpose.datasets.datasets.utils import parse_pose_metainfo

        meta = parse_pose_metainfo(meta)
    torch.manual_seed(0)
    model = build_model(cfg)
    model.init_weights()
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    base = tmp_path / 'base.pth'
    torch.save(dict(meta=dict(), state_dict=model.state_dict()), base)
    mmadapt.inject(model, dict(method=dict(type='LoRA', r=4)))
    perturb(model)
    folder = str(tmp_path / 'adapter')
    mmadapt.save_adapter(
        model,
        folder,
        BaseRecord(load_from=str(base)),
        meta.get('classes'),
        described=DescribedModel.of(cfg, meta),
    )
    (tmp_path / 'points.py').unlink(missing_ok=True)
    model.dataset_meta, model.cfg, model._config = meta, cfg, cfg
    monkeypatch.chdir(tmp_path)
    return request.param, model.eval(), cfg, folder, write_images(tmp_path / 'images')


def expected(name, model, image):
    """What the library's own function sees."""
    if name == 'mmpose':
        from mmpose.apis import inference_topdown

        return inference_topdown(model, image)[0].pred_instances.keypoints
    if name == 'rtmo':
        from mmpose.apis import inference_bottomup

        return inference_bottomup(model, image)[0].pred_instances.keypoints
    if name == 'mmseg':
        from mmseg.apis import inference_model

        return inference_model(model, image).pred_sem_seg.data[0].numpy()
    from mmpretrain.apis import ImageClassificationInferencer

    return ImageClassificationInferencer(model)(image)[0]['pred_scores']


def test_an_adapter_folder_alone_sees_what_the_library_sees(task):
    name, model, cfg, folder, images = task
    assert main([folder, *images, '--device', 'cpu', '--score-thr', '0']) == 0
    described, results = (
        json.loads(Path('predictions', f'{file}.json').read_text())
        for file in ('images', 'results')
    )
    for number, image in enumerate(images, 1):
        wanted = expected(name, model, image)
        entries = [entry for entry in results if entry['image_id'] == number]
        if name in ('mmpose', 'rtmo'):
            found = np.array([entry['keypoints'] for entry in entries]).reshape(-1, 3, 3)[..., :2]
            order = np.lexsort(found.reshape(len(found), -1).T)
            wanted_order = np.lexsort(wanted.reshape(len(wanted), -1).T)
            np.testing.assert_allclose(found[order], wanted[wanted_order], atol=1e-2)
            assert described['categories'] == [dict(id=1, name='face')]
        elif name == 'mmseg':
            labels = np.array(Image.open(f'predictions/labels/{Path(image).stem}.png'))
            np.testing.assert_array_equal(labels, wanted)
        else:
            (entry,) = entries
            assert entry['category_id'] == int(np.argmax(wanted)) + 1
            np.testing.assert_allclose(entry['score'], np.max(wanted), rtol=1e-5)
        drawn = cv2.imread(f'predictions/drawings/{Path(image).name}')
        assert drawn.shape == cv2.imread(image).shape
        assert (drawn != cv2.imread(image)).any()


@pytest.mark.parametrize('task', ['mmpose'], indirect=True)
def test_a_pose_model_looks_into_the_boxes_that_it_is_given(task, tmp_path):
    name, model, cfg, folder, images = task
    from mmpose.apis import inference_topdown

    boxes = [[5, 5, 40, 60], [30, 10, 90, 80]]
    entries = [
        dict(image_id=7, bbox=[x1, y1, x2 - x1, y2 - y1], category_id=1, id=i)
        for i, (x1, y1, x2, y2) in enumerate(boxes)
    ]
    content = dict(images=[dict(id=7, file_name='0.png')], annotations=entries, categories=[])
    (tmp_path / 'boxes.json').write_text(json.dumps(content))
    words = [folder, images[0], '--device', 'cpu', '--score-thr', '0', '--boxes', 'boxes.json']
    assert main(words) == 0
    results = json.loads(Path('predictions/results.json').read_text())
    found = np.array([entry['keypoints'] for entry in results]).reshape(-1, 3, 3)[..., :2]
    samples = inference_topdown(model, images[0], np.array(boxes, dtype=np.float32))
    wanted = np.concatenate([sample.pred_instances.keypoints for sample in samples])
    order, wanted_order = found[:, 0, 0].argsort(), wanted[:, 0, 0].argsort()
    np.testing.assert_allclose(found[order], wanted[wanted_order], atol=1e-2)
    with pytest.raises(UserError, match='has no box in any of these images; it is about 0.png'):
        main([*words[:1], images[1], *words[2:], '--force'])


@pytest.mark.parametrize('task', ['mmpose'], indirect=True)
def test_of_boxes_of_several_categories_those_to_look_into_are_chosen(task, tmp_path):
    name, model, cfg, folder, images = task
    names = {1: 'person', 2: 'chair', 3: 'dog'}
    content = dict(
        images=[dict(id=7, file_name='0.png')],
        categories=[dict(id=number, name=name) for number, name in names.items()],
        annotations=[
            dict(id=i, image_id=7, bbox=[10 * i, 10, 30, 40], category_id=category)
            for i, category in enumerate((1, 2, 1))
        ],
    )
    (tmp_path / 'boxes.json').write_text(json.dumps(content))
    words = [folder, images[0], '--device', 'cpu', '--score-thr', '0', '--boxes', 'boxes.json']
    with pytest.raises(UserError, match="2 categories in .*: person, chair; --boxes-of 'person'"):
        main(words)
    with pytest.raises(UserError, match="--boxes-of persn: .*no such category; nearest: 'person'"):
        main([*words, '--boxes-of', 'persn'])
    with pytest.raises(UserError, match='has no box of dog in any of these images'):
        main([*words, '--boxes-of', 'dog'])
    with pytest.raises(UserError, match='--boxes-of says .*: name it with --boxes'):
        main([*words[:-2], '--boxes-of', 'person'])
    assert not Path('predictions').exists()
    for chosen, count in ((['person'], 2), (['chair', 'person'], 3)):
        assert main([*words, '--force', '--boxes-of', *chosen]) == 0
        assert len(json.loads(Path('predictions/results.json').read_text())) == count


@pytest.mark.parametrize('task', ['mmseg'], indirect=True)
def test_images_of_several_sizes_go_through_a_segmentation_model_in_batches(task, tmp_path):
    """MMSegmentation pads no image to another's size; it stops."""
    name, model, cfg, folder, images = task
    small = str(tmp_path / 'images' / 'same.png')
    Image.open(images[0]).rotate(180).save(small)
    images = [images[0], *images[1:], small]
    for out, size in (('one', 1), ('three', 3)):
        words = [folder, *images, '--device', 'cpu', '--batch-size', str(size), '--out', out]
        assert main(words) == 0
    for image in images:
        name = Path(image).with_suffix('.png').name
        one, three = (np.array(Image.open(f'{out}/labels/{name}')) for out in ('one', 'three'))
        assert (one != three).mean() < 0.01


@pytest.mark.parametrize('task', ['mmseg'], indirect=True)
def test_label_maps_of_images_that_differ_by_their_suffix_are_two(task, tmp_path):
    name, model, cfg, folder, images = task
    two = [str(tmp_path / f'a{suffix}') for suffix in ('.png', '.jpg')]
    for image, path in zip(images, two, strict=False):
        Image.open(image).save(path)
    assert main([folder, *two, '--device', 'cpu', '--no-drawings']) == 0
    found = {path.name: Image.open(path).size for path in Path('predictions/labels').iterdir()}
    assert found == {f'{Path(path).name}.png': Image.open(path).size for path in two}


def test_an_adapter_of_another_task_is_refused(task):
    name, model, cfg, folder, images = task
    detector = get_config('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py')
    with pytest.raises(UserError, match='which this model does not have|belongs to another model'):
        mmadapt.Inferencer(detector, dict(a=folder), f'{folder}/../base.pth', 'cpu')
