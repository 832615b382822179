"""The configs of projects/example_largemodel, and their small sibling on two processes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config

pytest.importorskip('mmdet', reason='MMDetection is not installed')

from mmadapt.config_model import build_model  # noqa: E402
from mmadapt.memory import MemoryConfig, apply_memory  # noqa: E402
from mmadapt.memory.checkpointing import is_recomputed  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / 'projects/example_largemodel'
CONFIGS = sorted(PROJECT.glob('dino*.py'))
LARGE = [path for path in CONFIGS if 'swin-l' in path.name]
BLOCKS = dict(
    SwinBlock=24, DeformableDetrTransformerEncoderLayer=6, DeformableDetrTransformerDecoderLayer=6
)


@pytest.fixture(scope='module')
def configs():
    return {path.name: Config.fromfile(path) for path in CONFIGS}


def test_every_combination_is_there_and_under_the_names_of_the_first_example():
    names = {path.name for path in LARGE}
    assert names == {
        f'dino-5scale_swin-l_{tuning}{strategy}8xb2-12e_coco.py'
        for tuning in ('', 'lora_')
        for strategy in ('', 'fsdp_', 'deepspeed_', 'zero3_')
    }


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_config_says_what_its_name_says_and_how_it_is_run(configs, path):
    cfg, (title, command) = configs[path.name], path.read_text().splitlines()[:2]
    assert title.startswith('# ')
    if path.name != 'dino-5scale_tiny_2xb1-2e_shapes.py':  # which needs data, so a line more
        assert f'./tools/dist_train.sh {path.relative_to(ROOT)} ' in command
    kind = (cfg.get('strategy') or {}).get('type')
    stage = (cfg.get('strategy') or {}).get('zero_optimization', {}).get('stage')
    wanted = dict(
        fsdp=('FSDP2Strategy', None),
        deepspeed=('mmadapt.DeepSpeedStrategy', 2),
        zero3=('mmadapt.DeepSpeedStrategy', 3),
    )
    found = next(
        (value for name, value in wanted.items() if f'_{name}_' in path.name), (None, None)
    )
    assert (kind, stage) == found
    assert ('runner_type' in cfg) == (kind is not None)
    hooks = [hook['type'] for hook in cfg.custom_hooks]
    assert hooks == ['PEFTInjectHook'] * ('peft' in cfg) + ['MemoryHook']
    assert ('peft' in cfg) == ('_lora_' in path.name)
    assert ('peft' in cfg) == (cfg.load_from is not None)
    assert cfg.memory.fp32_modules
    assert cfg.optim_wrapper.clip_grad.max_norm == 0.1  # that of the stock config


def test_the_large_model_is_recomputed_from_backbone_to_decoder(configs):
    cfg = configs['dino-5scale_swin-l_8xb2-12e_coco.py']
    stock = get_config('mmdet::dino/dino-5scale_swin-l_8xb2-12e_coco.py')
    stock.model.backbone.with_cp = False
    assert {k: v for k, v in cfg.model.items() if k != '_scope_'} == dict(stock.model)
    model = build_model(cfg)
    apply_memory(model, MemoryConfig.parse(cfg.memory))
    recomputed = [type(module).__name__ for module in model.modules() if is_recomputed(module)]
    assert {name: recomputed.count(name) for name in set(recomputed)} == BLOCKS


def test_the_readme_names_every_config_and_no_other():
    text = (PROJECT / 'README.md').read_text()
    named = set(re.findall(r'dino-5scale[\w-]+\.py', text))
    assert named <= {path.name for path in CONFIGS}
    assert {path.name for path in LARGE} <= named


def test_drawn_data_are_the_same_every_time(tmp_path):
    for folder in ('one', 'other'):
        subprocess.run([sys.executable, PROJECT / 'shapes.py', tmp_path / folder], check=True)
    one, other = (sorted((tmp_path / folder).rglob('*.*')) for folder in ('one', 'other'))
    assert len(one) == 16 + 4 + 2
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    labels = json.loads((tmp_path / 'one/train/annotations_coco.json').read_text())
    assert {a['category_id'] for a in labels['annotations']} == {0, 1, 2}
    for shape in labels['annotations']:
        x, y, width, height = shape['bbox']
        assert min(x, y) >= 0
        assert x + width <= 96
        assert y + height <= 64


def test_the_small_sibling_trains_on_two_processes_and_ends_with_exit_code_0(tmp_path):
    subprocess.run([sys.executable, PROJECT / 'shapes.py'], cwd=tmp_path, check=True)
    env = dict(
        os.environ,
        CUDA_VISIBLE_DEVICES='',
        VIRTUAL_ENV=sys.prefix,
        PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
    )
    run = subprocess.run(
        [
            ROOT / 'tools/dist_train.sh',
            PROJECT / 'dino-5scale_tiny_fsdp_2xb1-2e_shapes.py',
            '2',
            '--amp',
            '--cfg-options',
            'default_hooks.checkpoint.interval=2',
        ],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    work_dir = tmp_path / 'work_dirs/dino-5scale_tiny_fsdp_2xb1-2e_shapes'
    scalars = [
        json.loads(line)
        for path in work_dir.glob('*/vis_data/scalars.json')
        for line in path.read_text().splitlines()
    ]
    losses = [line['loss'] for line in scalars if 'loss' in line]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert any('coco/bbox_mAP' in line for line in scalars)
    weights = torch.load(work_dir / 'epoch_2.pth', weights_only=False)['state_dict']
    model = build_model(Config.fromfile(PROJECT / 'dino-5scale_tiny_2xb1-2e_shapes.py'))
    assert model.load_state_dict(weights, strict=False).missing_keys == []
