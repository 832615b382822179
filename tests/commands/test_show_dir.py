"""`mmadapt test --show-dir` draws what a model of every task predicts."""

from pathlib import Path

import cls_leaves
import cv2
import numpy as np
import pose_leaves
import pytest
import seg_leaves
import torch
from leaf_chain import Leaf, small_config, stock_model
from mmengine.config import Config

from mmadapt.cli.drawings import draw_predictions
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
    """By hooks that are turned on and told where by other words than MMDetection's."""
    pytest.importorskip(f'{library}.models', exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    leaf, count = LEAVES[library]
    leaf.task.write_data(tmp_path)
    for path in Path('data').rglob('plain/0.jpg'):
        path.rename(path.with_name('1.jpg'))  # MMPretrain's hook forgets the folder of an image
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


def test_a_config_without_a_hook_that_draws_is_one_line():
    with pytest.raises(UserError, match='need default_hooks.visualization=dict'):
        draw_predictions(Config(dict(default_hooks=dict())), False, 2, 'drawn')
