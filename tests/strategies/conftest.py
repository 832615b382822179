"""Configs of the runs that strategies are compared by."""

import pytest
import stock_runs
from stock_runs import write_base, write_config, write_data
from tiny_dino import DINO, SMALL

LOOPS = """
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs={}, val_interval=9)
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """Return a function that writes the config of a run."""
    folder = tmp_path_factory.mktemp('data')
    write_data(folder)
    small = repr(SMALL).replace('{', '{{').replace('}', '}}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            stock_runs.MODELS,
            'dino',
            (f'mmdet::{DINO}', f"model = {small}\nmodel['bbox_head'] = dict(num_classes={{n}})"),
        )
        write_base(folder / 'base.pth', 'dino')

        def write(name, strategy, peft, epochs=1, images=6, extra='', size=64, **wrapper):
            # At 64 px a step takes half the time that it takes at 96.
            wrapper = dict(
                # With a smaller eps it would make steps of what is rounding errors only.
                optimizer=dict(lr=1e-3, eps=1e-4),
                clip_grad=dict(max_norm=0.1, norm_type=2),
                paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
                **wrapper,
            )
            return write_config(
                folder,
                'dino',
                folder,
                folder / 'base.pth',
                peft,
                name=name,
                epochs=epochs,
                size=size,
                extra=f"runner_type = 'FlexibleRunner'\nstrategy = {strategy}\n"
                f'optim_wrapper = {wrapper}\n{LOOPS.format(epochs)}'
                f"train_dataloader['batch_size'] = 1\ndataset = train_dataloader['dataset']\n"
                f"dataset['indices'] = {images}\n{extra}",
            )

        yield write
