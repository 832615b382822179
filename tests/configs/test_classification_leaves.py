"""Every leaf of image classification, the whole way that its user goes."""

import cls_leaves
import pytest
import torch
from leaf_chain import (
    OTHER_METHODS,
    Leaf,
    assert_trains_by,
    assert_trains_what_is_new,
    small_config,
)

from mmadapt.commands import merge, train

_COUNTS = {'model.head.num_classes': 2, 'data_preprocessor.num_classes': 2}
_TIMM = dict(type='TIMMBackbone', model_name='densenet121')
_FC = r'head\.fc\..*'
# Stochastic depth would leave out some layers of some steps.
_SMALL = {'model.backbone.img_size': 64, 'model.backbone.drop_path_rate': 0.0}
LEAVES = [
    Leaf('resnet18_lora_face_cls', cls_leaves, _COUNTS, _FC, linear=False),
    Leaf('mobilenet-v2_lora_face_cls', cls_leaves, _COUNTS, _FC, linear=False),
    Leaf(
        'convnext-t_lora_face_cls',
        cls_leaves,
        _COUNTS,
        _FC,
        changes={'model.backbone.drop_path_rate': 0.0},
    ),
    Leaf(
        'swin-t_lora_face_cls',
        cls_leaves,
        _COUNTS,
        _FC,
        changes={**_SMALL, 'model.backbone.pad_small_map': True},
    ),
    Leaf('deit-tiny_lora_face_cls', cls_leaves, _COUNTS, r'head\.layers\.head\..*', changes=_SMALL),
    # The stock config has no model of timm: this makes it one, its weights not fetched.
    Leaf(
        'timm-densenet121_lora_face_cls',
        cls_leaves,
        _COUNTS,
        _FC,
        changes={'model.backbone': dict(_TIMM, _delete_=True)},
        linear=False,
    ),
]


@pytest.fixture(scope='module', autouse=True)
def _library():
    pytest.importorskip('mmpretrain.models', exc_type=ImportError)


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.name)
def test_a_leaf_trains_its_new_classes_and_adapters_and_nothing_else(leaf, chain_of):
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


def test_what_timm_reads_from_a_file_is_the_base_that_is_adapted(leaf_folder, tmp_path):
    """As the leaf says for where the hub cannot be reached."""
    timm = pytest.importorskip('timm', reason='timm is not installed')
    torch.manual_seed(0)
    fetched = timm.create_model('densenet121').state_dict()
    torch.save(fetched, tmp_path / 'model.pth')
    leaf = Leaf('timm-densenet121_lora_face_cls', cls_leaves, _COUNTS, _FC)
    cfg = small_config(leaf, tmp_path)
    cfg.merge_from_dict(
        {
            'load_from': None,
            'model.backbone.pretrained_cfg_overlay.file': str(tmp_path / 'model.pth'),
        }
    )
    config = tmp_path / 'short.py'
    config.write_text('\n'.join(f'{key} = {value!r}' for key, value in cfg.to_dict().items()))
    train.main([str(config), '--work-dir', str(tmp_path)])
    merge.main([str(config), str(tmp_path / 'adapter'), str(tmp_path / 'merged.pth')])
    merged = torch.load(tmp_path / 'merged.pth', weights_only=False)['state_dict']
    kept = {
        key: torch.equal(merged[f'backbone.timm_model.{key}'], value)
        for key, value in fetched.items()
        if not key.startswith('classifier')
    }
    assert all(same for key, same in kept.items() if 'norm' in key)
    assert not any(same for key, same in kept.items() if 'conv' in key)
