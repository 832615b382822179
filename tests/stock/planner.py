"""The planner of tools/, without tools/ and its test.py on the path, and a config for it."""

import importlib.util
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / 'tools'


def load(name, path, **arguments):
    """Import a module of tools/ under a name."""
    spec = importlib.util.spec_from_file_location(name, path, **arguments)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pytest.importorskip('mmdet', reason='MMDetection is not installed')
for package in ('benchmarking', 'memory'):
    if package not in sys.modules:
        load(package, TOOLS / package / '__init__.py',
             submodule_search_locations=[str(TOOLS / package)])
tool = load('memory_table_tool', TOOLS / 'memory_table.py')

from memory import (  # noqa: E402
    changes,
    like_cuda,
    lines,
    needs,
    output,
    plan,
    planning,
    recipes,
    row,
    rows,
    strategies,
    tally,
)
from memory.shapes import ShapesOnly  # noqa: E402

__all__ = ['ShapesOnly', 'changes', 'like_cuda', 'lines', 'needs', 'output', 'plan', 'planning',
           'recipes', 'row', 'rows', 'strategies', 'tally', 'tool']

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
SETTING = rows.Setting('', {}, (64, 96), 1, 1, 1, 1, 'cpu', 1)


def prepared(name, config, model, size=(64, 96)):
    """Return the config of the run that a recipe's row is."""
    setting = dict(asdict(SETTING), config=config, size=size, model=asdict(model), work_dir='',
                   launcher='none')
    return row.prepared(recipes.parse_recipe(name), setting)
