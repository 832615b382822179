"""What the tests of all tasks' leaves share; their files say which in LEAVES, all of one task."""

import copy
import gc
import os

import pytest

pytest.register_assert_rewrite(
    'leaf_chain', 'det_leaves', 'pose_leaves', 'seg_leaves', 'cls_leaves'
)


@pytest.fixture(scope='module')
def leaf_folder(request, tmp_path_factory):
    """Where the tiny data is, as leaves look for it: the folder of the process."""
    root, before = tmp_path_factory.mktemp('leaves'), os.getcwd()
    request.module.LEAVES[0].task.write_data(root)
    os.chdir(root)
    gc.freeze()  # MMEngine collects garbage for every data set, and looks through all there is
    yield root
    gc.unfreeze()
    os.chdir(before)


@pytest.fixture(scope='module')
def chain_of(leaf_folder):
    """A function that goes the way of a leaf, once, and returns what it leaves."""
    from leaf_chain import run_chain

    found = {}

    def chain_of(leaf):
        if leaf.name not in found:
            (leaf_folder / leaf.name).mkdir()
            found[leaf.name] = run_chain(leaf, leaf_folder / leaf.name)
        return found[leaf.name]

    return chain_of


@pytest.fixture(scope='module')
def in_stock(leaf_folder, chain_of, request):
    """A function that returns what the stock model predicts from the merged file of a leaf."""
    from leaf_chain import predict_in_stock

    asked = {
        item.callspec.params['leaf']
        for item in request.session.items
        if item.module is request.module and 'in_stock' in item.fixturenames
    }
    found = predict_in_stock({leaf: chain_of(leaf) for leaf in asked}, leaf_folder)
    return lambda leaf: found[leaf.name]


@pytest.fixture(scope='module')
def stock_of(leaf_folder):
    """A function that returns a leaf's stock model for its classes, and its first batch."""
    from leaf_chain import first_batch, small_config, stock_model

    built = {}

    def stock_of(leaf):
        if leaf.name not in built:
            built.clear()  # one at a time
            cfg = small_config(leaf, leaf_folder)
            built[leaf.name] = stock_model(leaf, leaf.counts), first_batch(cfg)
        return copy.deepcopy(built[leaf.name])

    return stock_of
