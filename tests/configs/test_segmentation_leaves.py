"""Every leaf of semantic segmentation, the whole way that its user goes."""

import pytest
import seg_leaves
from leaf_chain import OTHER_METHODS, Leaf, assert_trains_by, assert_trains_what_is_new

# Stochastic depth would leave out some layers of some steps.
_WHOLE = {'model.backbone.drop_path_rate': 0.0}
_COUNTS = {'model.decode_head.num_classes': 3}
LEAVES = [
    Leaf(
        'segnext_mscan-t_lora_face_seg',
        seg_leaves,
        counts=_COUNTS,
        resized=r'decode_head\.conv_seg\..*',
        changes=_WHOLE,
        linear=False,
    ),
    Leaf(
        'upernet_swin-t_lora_face_seg',
        seg_leaves,
        counts={**_COUNTS, 'model.auxiliary_head.num_classes': 3},
        resized=r'(decode|auxiliary)_head\.conv_seg\..*',
        changes={**_WHOLE, 'model.decode_head.channels': 64},
    ),
    Leaf(
        'segformer_mit-b0_lora_face_seg',
        seg_leaves,
        counts=_COUNTS,
        resized=r'decode_head\.conv_seg\..*',
        changes=_WHOLE,
        linear=False,  # it has attentions, whose weights are not quantized
    ),
]


@pytest.fixture(scope='module', autouse=True)
def _library():
    pytest.importorskip('mmseg.models', exc_type=ImportError)


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
