"""Every leaf of detection and instance segmentation, the whole way that its user goes."""

import copy
import os
import re

import det_leaves
import pytest
import torch
from leaf_chain import (
    Leaf,
    first_batch,
    predict_in_stock,
    resized_keys,
    run_chain,
    small_config,
    step,
    stock_model,
)

LEAVES = [
    Leaf(
        'rtmdet_tiny_lora_face',
        det_leaves,
        counts={'model.bbox_head.num_classes': 2},
        resized=r'bbox_head\.rtm_cls\..*',
        changes={'model.test_cfg.max_per_img': 10},
        linear=False,
        idle=r'bbox_head\.(reg_convs|rtm_reg)\.2\..*',
    ),
    Leaf(
        'faster-rcnn_r50_lora_face',
        det_leaves,
        counts={'model.roi_head.bbox_head.num_classes': 2},
        resized=r'roi_head\.bbox_head\.fc_(cls|reg)\..*',
        changes={
            'model.backbone.base_channels': 16,
            'model.neck.in_channels': [64, 128, 256, 512],
            'model.roi_head.bbox_head.fc_out_channels': 64,
            'model.test_cfg.rpn.nms_pre': 40,
            'model.test_cfg.rpn.max_per_img': 20,
            'model.train_cfg.rpn_proposal.nms_pre': 40,
            'model.train_cfg.rpn_proposal.max_per_img': 20,
            'model.test_cfg.rcnn.score_thr': 0.0,
            'model.test_cfg.rcnn.max_per_img': 10,
        },
    ),
]


OTHERS = ('dora', 'ssf', 'qlora', 'full', 'last_layer')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Where the tiny data is, as leaves look for it: the folder of the process."""
    root, before = tmp_path_factory.mktemp('leaves'), os.getcwd()
    det_leaves.write_data(root)
    os.chdir(root)
    yield root
    os.chdir(before)


@pytest.fixture(scope='module')
def chain_of(folder):
    """A function that goes the way of a leaf, or says what is left of it."""
    found = {}

    def chain_of(leaf):
        if leaf.name not in found:
            (folder / leaf.name).mkdir()
            found[leaf.name] = run_chain(leaf, folder / leaf.name)
        return found[leaf.name]

    return chain_of


@pytest.fixture(scope='module')
def in_stock(folder, chain_of, request):
    """What stock models predict from the merged files of all leaves that are asked for."""
    asked = {item.callspec.params['leaf'] for item in request.session.items if LAST in item.name}
    return predict_in_stock({leaf: chain_of(leaf) for leaf in LEAVES if leaf in asked}, folder)


@pytest.fixture(scope='module')
def stock_of(folder):
    """A function that returns a leaf's stock model for its classes, and its first batch."""
    built = {}

    def stock_of(leaf):
        if leaf.name not in built:
            built.clear()  # one at a time
            cfg = small_config(leaf, folder)
            built[leaf.name] = stock_model(leaf, leaf.counts), first_batch(cfg)
        return copy.deepcopy(built[leaf.name])

    return stock_of


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.name)
def test_a_leaf_trains_its_new_classes_and_adapters_and_nothing_else(leaf, chain_of):
    chain = chain_of(leaf)
    moved = {
        name for name, value in chain.after.items() if not torch.equal(value, chain.before[name])
    }
    assert moved <= chain.trained, 'called frozen, moved'
    new = resized_keys(leaf, chain)
    assert new
    assert all(re.fullmatch(leaf.resized, key) for key in new)
    assert new <= moved
    adapters = {name for name in chain.trained if '.lora_' in name}
    assert adapters
    assert not {name for name in adapters - moved if not re.fullmatch(leaf.idle, name)}
    assert set(det_leaves.METRICS) <= chain.metrics.keys()
    with pytest.raises(AssertionError):  # the adapters matter
        det_leaves.assert_same(chain.base, chain.adapted)


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.name)
@pytest.mark.parametrize('method', OTHERS)
def test_another_method_is_another_line_and_trains_what_it_says(method, leaf, stock_of, tmp_path):
    if method == 'qlora':
        pytest.importorskip('bitsandbytes')
    cfg = small_config(leaf, tmp_path, method=method)
    model, batch = stock_of(leaf)
    at_rest = step(leaf, model, cfg, batch)
    # What is before a matrix of zeros has no gradient yet.
    assert not {n for n in at_rest if '.lora_A' not in n and not re.fullmatch(leaf.idle, n)}


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.name)
def test_the_merged_file_is_loaded_by_the_stock_model_which_predicts_the_same(
    leaf, chain_of, in_stock
):
    det_leaves.assert_same(in_stock[leaf.name], chain_of(leaf).adapted)


LAST = test_the_merged_file_is_loaded_by_the_stock_model_which_predicts_the_same.__name__
