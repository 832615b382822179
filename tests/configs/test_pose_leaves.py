"""Every leaf of pose estimation, the whole way that its user goes."""

import pose_leaves
import pytest
import torch
from leaf_chain import (
    OTHER_METHODS,
    Leaf,
    assert_trains_by,
    assert_trains_what_is_new,
    resized_keys,
    small_config,
    train_leaf,
)

from mmadapt.commands import dataset
from mmadapt.config_files import CONFIGS

_FILE = str(CONFIGS / '_base_' / 'datasets' / 'face_pose.py')
RTMO = Leaf(
    'rtmo-s_lora_face_pose',
    pose_leaves,
    counts={
        'model.head.num_keypoints': 5,
        'model.head.assigner.oks_calculator.metainfo': _FILE,
        'model.head.loss_oks.metainfo': _FILE,
    },
    resized=r'head\.(head_module\.out_kpt_(reg|vis)\.[01]\..*|dcc\.pose_to_kpts\.0\..*'
    r'|dcc\.pose_to_kpts\.1\.(weight|bias|running_.*)|dcc\.sigma_fc\.0\..*|dcc\.pos_enc'
    r'|loss_oks\.sigmas)',
    changes={'model.test_cfg.input_size': [64, 64], 'model.test_cfg.score_thr': 0.0},
    # No face of these two images is assigned to the coarse level.
    idle=r'head\.head_module\.(conv_pose|out_\w+)\.1\..*',
)
LEAVES = [
    Leaf(
        'rtmpose-t_lora_face_pose',
        pose_leaves,
        counts={'model.head.out_channels': 5},
        resized=r'head\.final_layer\..*',
        changes={
            'model.head.input_size': [64, 64],
            'model.head.in_featuremap_size': [2, 2],
            'model.head.decoder.input_size': [64, 64],
        },
    ),
    Leaf(
        'td-hm_hrnet-w32_lora_face_pose',
        pose_leaves,
        counts={'model.head.out_channels': 5},
        resized=r'head\.final_layer\..*',
        changes={
            'model.head.decoder.input_size': [64, 64],
            'model.head.decoder.heatmap_size': [16, 16],
            'model.backbone.extra.stage3.num_modules': 1,
            'model.backbone.extra.stage4.num_modules': 1,
        },
        linear=False,
    ),
    RTMO,
]


@pytest.fixture(scope='module', autouse=True)
def _library():
    pytest.importorskip('mmpose.models', exc_type=ImportError)


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.name)
def test_a_leaf_trains_its_new_points_and_adapters_and_nothing_else(leaf, chain_of):
    assert_trains_what_is_new(leaf, chain_of(leaf))


@pytest.mark.parametrize('method', OTHER_METHODS)
@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.name)
def test_another_method_is_another_line_and_trains_what_it_says(method, leaf, stock_of, tmp_path):
    assert_trains_by(method, leaf, *stock_of(leaf), tmp_path)


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.name)
def test_the_merged_file_is_loaded_by_the_stock_model_which_predicts_the_same(
    leaf, chain_of, in_stock
):
    leaf.task.assert_same(in_stock(leaf), chain_of(leaf).adapted)


def test_rtmo_has_18_tensors_of_new_points_and_the_sigmas_of_their_file(chain_of):
    chain = chain_of(RTMO)
    new = resized_keys(chain)
    assert len(new) == 18
    merged = torch.load(chain.merged, weights_only=False)['state_dict']
    torch.testing.assert_close(merged['head.loss_oks.sigmas'], torch.full((5,), 0.025))
    # Statistics of the norm behind a new layer start anew, and move.
    assert not (merged['head.dcc.pose_to_kpts.1.running_mean'] == 0).any()


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.name)
def test_a_file_that_mmadapt_dataset_writes_takes_the_place_of_the_leafs_own(
    leaf, chain_of, tmp_path
):
    # Other points than those of the leaf's file: three of its five.
    out, root = tmp_path / 'three.py', pose_leaves.write_three(tmp_path / 'three')
    assert dataset.main([str(root), '--name', 'face_pose', '--out', str(out)]) == 0
    base = chain_of(leaf).merged.with_name('base.pth')
    chain, _ = train_leaf(leaf, small_config(leaf, tmp_path, base, data=out), tmp_path)
    assert chain.metrics['coco/AP'] >= 0
    moved = {key for key, value in chain.after.items() if not torch.equal(value, chain.before[key])}
    assert any('.lora_B' in key for key in moved)
    head = chain.after.get('head.final_layer.weight')
    if head is None:
        assert chain.after['head.dcc.pos_enc'].shape[0] == 3
    else:
        assert head.shape[0] == 3
