"""A config for tests of plans and measurements, and the runs that are made of it."""

from dataclasses import asdict

from mmadapt.recipes import run
from mmadapt.recipes.recipe import parse_recipe

# Random elements that depend on values are off; the rest of a DINO with Swin, in small.
DINO = """
_base_ = 'mmdet::dino/dino-5scale_swin-l_8xb2-12e_coco.py'
layers = dict(num_layers=2, layer_cfg=dict(ffn_cfg=dict(feedforward_channels=64)))
model = dict(
    num_queries=20, encoder=layers, decoder=layers, neck=dict(in_channels=[24, 48, 96, 192]),
    backbone=dict(embed_dims=24, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8], window_size=4,
                  drop_path_rate=0., init_cfg=None, convert_weights=False),
    dn_cfg=dict(group_cfg=dict(num_dn_queries=4)))
"""
SETTING = run.Setting('', {}, (64, 96), 1, 1, 1, 1, 'cpu', 1)


def prepared(name, config, model, size=(64, 96)):
    """Return the config of the run that a recipe's row is."""
    setting = dict(
        asdict(SETTING), config=config, size=size, model=asdict(model), work_dir='', launcher='none'
    )
    return run.prepared(parse_recipe(name), setting)
