"""`mmadapt test --show-dir` draws what a model of every task predicts."""

from pathlib import Path
from types import SimpleNamespace

import cls_leaves
import cv2
import numpy as np
import pose_leaves
import pytest
import seg_leaves
import torch
from leaf_chain import Leaf, small_config, stock_model
from mmengine.config import Config

from mmadapt.cli.drawing_names import names_of_drawings, tell_drawings_apart
from mmadapt.cli.drawings import draw_predictions, drawings_folder
from mmadapt.commands.test import main
from mmadapt.errors import UserError

# By library a leaf, and how many drawings there are: of a pose one for each box.
LEAVES = {
    'mmpose': (
        Leaf(
            'rtmpose-t_lora_face_pose',
            pose_leaves,
            counts={'model.head.out_channels': 5},
            resized='-',
            changes={
                'model.head.input_size': [64, 64],
                'model.head.in_featuremap_size': [2, 2],
                'model.head.decoder.input_size': [64, 64],
            },
        ),
        4,
    ),
    'mmseg': (
        Leaf(
            'segformer_mit-b0_lora_face_seg',
            seg_leaves,
            counts={'model.decode_head.num_classes': 3},
            resized='-',
        ),
        2,
    ),
    'mmpretrain': (
        Leaf(
            'resnet18_lora_face_cls',
            cls_leaves,
            counts={'model.head.num_classes': 2, 'data_preprocessor.num_classes': 2},
            resized='-',
        ),
        2,
    ),
}


@pytest.mark.parametrize('library', LEAVES)
def test_predictions_are_drawn_for_every_task(library, tmp_path, monkeypatch):
    """By hooks that are turned on and told where by other words than MMDetection's.

    MMPretrain's images have one name, in a folder for each class.
    """
    pytest.importorskip(f'{library}.models', exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    leaf, count = LEAVES[library]
    leaf.task.write_data(tmp_path)
    cfg = small_config(leaf, tmp_path)
    cfg.pop('peft')
    cfg.custom_hooks = []
    if library == 'mmpose':
        cfg.default_hooks.visualization.kpt_thr = 0.0  # so that every point is drawn
    Path('tiny.py').write_text('\n'.join(f'{k} = {v!r}' for k, v in cfg.to_dict().items()))
    state = stock_model(leaf, leaf.counts).state_dict()
    torch.save(dict(meta={}, state_dict=state), 'full.pth')
    said = []
    monkeypatch.setattr('mmadapt.commands.test.print_log', lambda line, **_: said.append(line))
    main(['tiny.py', 'full.pth', '--work-dir', 'out', '--show-dir', 'drawn'])
    folder = Path(said[-1].removeprefix('images of the predictions: '))
    drawn = [cv2.imread(str(path)) for path in folder.iterdir()]
    assert len(drawn) == count
    images = {image.tobytes() for image in map(cv2.imread, map(str, Path('data').rglob('*.*g')))}
    assert not images & {image.tobytes() for image in drawn}
    assert all(np.ptp(image) > 0 for image in drawn)


def config_of(hook, **changes):
    hooks = dict(visualization=dict(type=hook, show=True))
    return Config(dict(default_hooks=hooks, work_dir='out', **changes))


def test_a_config_without_a_hook_that_draws_is_one_line():
    with pytest.raises(UserError, match='need default_hooks.visualization=dict'):
        draw_predictions(Config(dict(default_hooks=dict())), False, 2, 'drawn')


def test_a_hook_that_does_not_write_what_it_shows_is_not_asked_for_both():
    with pytest.raises(UserError, match='--show and --show-dir: SegVisualizationHook shows'):
        draw_predictions(config_of('mmseg.SegVisualizationHook'), True, 2, 'drawn')
    for hook in ('VisualizationHook', 'DetVisualizationHook'):  # these do both
        draw_predictions(config_of(hook), True, 2, 'drawn')
    draw_predictions(cfg := config_of('SegVisualizationHook'), False, 2, 'drawn')
    assert 'show' not in cfg.default_hooks.visualization


@pytest.mark.parametrize(
    ('hook', 'kind'),
    [
        ('SegVisualizationHook', 'SegLocalVisualizer'),
        ('VisualizationHook', 'UniversalVisualizer'),
        ('DetVisualizationHook', 'DetLocalVisualizer'),
        ('PoseVisualizationHook', 'PoseLocalVisualizer'),
    ],
)
def test_a_config_without_a_visualizer_gets_one_that_draws_and_stores(hook, kind):
    for changes in ({}, dict(visualizer=None), dict(visualizer=dict(type='Visualizer'))):
        draw_predictions(cfg := config_of(hook, **changes), False, 2, 'drawn')
        assert cfg.visualizer.type == kind
        if not changes or hook in ('SegVisualizationHook', 'VisualizationHook'):
            assert cfg.visualizer.vis_backends == [dict(type='LocalVisBackend')]


@pytest.mark.parametrize(
    ('backends', 'wanted'),
    [
        (None, [dict(type='LocalVisBackend')]),
        (dict(type='mmengine.LocalVisBackend'), [dict(type='mmengine.LocalVisBackend')]),
        (
            [dict(type='TensorboardVisBackend', save_dir='logs')],
            [dict(type='TensorboardVisBackend', save_dir='logs'), dict(type='LocalVisBackend')],
        ),
        (
            [dict(type='LocalVisBackend', save_dir='logs', img_save_dir='i', scalar_save_file='s')],
            [dict(type='LocalVisBackend', scalar_save_file='s')],
        ),
    ],
)
def test_what_is_handed_to_the_visualizer_is_stored_where_the_last_line_says(backends, wanted):
    visualizer = dict(type='UniversalVisualizer', name='mine', vis_backends=backends)
    draw_predictions(
        cfg := config_of('VisualizationHook', visualizer=visualizer), False, 2, 'drawn'
    )
    assert cfg.visualizer.vis_backends == wanted
    assert (cfg.visualizer.name, cfg.visualizer.save_dir) == ('mine', 'out/drawn')
    assert drawings_folder(cfg, 'then', 'drawn') == 'out/drawn/vis_data/vis_image'


def test_drawings_of_images_of_one_name_are_told_apart():
    paths = ['all/cat/0.jpg', 'all/dog/0.jpg', 'all/dog/1.jpg', 'all/cat/0.jpg', 'more/cat_0.jpg']
    assert names_of_drawings(paths) == {
        'all/cat/0.jpg': 'all_cat_0.jpg',
        'all/dog/0.jpg': 'dog_0.jpg',
        'all/dog/1.jpg': '1.jpg',
        'more/cat_0.jpg': 'more_cat_0.jpg',
    }
    unlike = ['/x/a/0.jpg', 'x/a/0.jpg', '../x/a/0.jpg', 'x_a/0.jpg', '0_0.jpg']
    assert len({*names_of_drawings(unlike).values()}) == 5


def test_each_hook_writes_drawings_under_their_own_names():
    class Images(list):
        get_data_info = list.__getitem__

    class Recorder:
        def __init__(self):
            self.given = []

        def add_datasample(self, name, image, data_sample=None, out_file=None):
            self.given.append((name, out_file))

    images = Images([dict(img_path='a/0.jpg'), dict(img_path='b/0.jpg'), dict(images=[])])
    loader = SimpleNamespace(dataset=images)
    runner = SimpleNamespace(visualizer=Recorder(), test_dataloader=loader)
    tell_drawings_apart(runner)
    draw = runner.visualizer.add_datasample
    draw('test_img', None, data_sample=images[0], out_file='out/0.jpg')  # MMDetection
    draw('test_0.jpg', None, data_sample=images[1])  # MMSegmentation
    draw('test_img', None, data_sample=images[1], out_file='out/0_0.jpg')  # MMPose: the first box
    draw('test_0.jpg', None, data_sample=dict(img_path='of/another.jpg'))
    draw('test_0.jpg', None)
    assert runner.visualizer.given == [
        ('test_img', 'out/a_0.jpg'),
        ('test_b_0.jpg', None),
        ('test_img', 'out/0_0.jpg'),
        ('test_0.jpg', None),
        ('test_0.jpg', None),
    ]
