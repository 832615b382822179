"""Our `_base_` files compose with MMDetection's configs and with each other."""

import ast
import itertools
import re
from pathlib import Path

import mmdet
import pytest
from leaf_files import need_library_of
from mmengine.config import Config

BASES = Path(__file__).parents[2] / 'configs' / '_base_'
STOCK = Path(mmdet.__file__).parent / '.mim' / 'configs'
FILES = sorted(path.relative_to(BASES) for path in BASES.glob('*/*.py'))
BY_CONCERN = {
    concern: [path for path in FILES if path.parts[0] == concern]
    for concern in sorted({path.parts[0] for path in FILES})
}
# One of each family: two-stage, one-stage, anchor-free, YOLO, cascades, DETRs, instance, panoptic,
# video, language; loops by iteration, own custom_hooks, own custom_imports, wrapped data sets.
VARIED = [
    'atss/atss_r50_fpn_1x_coco.py',
    'boxinst/boxinst_r50_fpn_ms-90k_coco.py',
    'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py',
    'centernet/centernet-update_r50_fpn_8xb8-amp-lsj-200e_coco.py',
    'conditional_detr/conditional-detr_r50_8xb2-50e_coco.py',
    'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py',
    'convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py',
    'dab_detr/dab-detr_r50_8xb2-50e_coco.py',
    'ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py',
    'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
    'detr/detr_r50_8xb2-150e_coco.py',
    'dino/dino-4scale_r50_8xb2-12e_coco.py',
    'dino/dino-5scale_swin-l_8xb2-12e_coco.py',
    'dyhead/atss_swin-l-p4-w12_fpn_dyhead_ms-2x_coco.py',
    'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'glip/glip_atss_swin-t_a_fpn_dyhead_pretrain_obj365.py',
    'grounding_dino/grounding_dino_swin-t_finetune_16xb2_1x_coco.py',
    'htc/htc_r50_fpn_1x_coco.py',
    'lvis/mask-rcnn_r50_fpn_sample1e-3_ms-1x_lvis-v1.py',
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py',
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'maskformer/maskformer_r50_ms-16xb1-75e_coco.py',
    'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
    'pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py',
    'qdtrack/qdtrack_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval.py',
    'retinanet/retinanet_r50_fpn_1x_coco.py',
    'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
    'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
    'rtmdet/rtmdet_l_swin_b_4xb32-100e_coco.py',
    'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py',
    'ssd/ssd300_coco.py',
    'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
    'tood/tood_r50_fpn_1x_coco.py',
    'yolo/yolov3_d53_8xb8-ms-608-273e_coco.py',
    'yolox/yolox_s_8xb8-300e_coco.py',
]


def load(path):
    return Config.fromfile(path, import_custom_modules=False, format_python_code=False)


def compose(tmp_path, *bases):
    leaf = tmp_path / 'leaf.py'
    leaf.write_text(f'_base_ = {[str(base) for base in bases]!r}\n')
    return load(leaf)


def assigned_names(path):
    """Every name that a config file binds at its top level, in loops and conditions too."""
    body = [
        node
        for node in ast.parse(path.read_text()).body
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef))
    ]
    return {
        node.id
        for statement in body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def clashes(stock, files=FILES):
    """Names of ours that a stock config sets too."""
    ours = {name for path in files for name in assigned_names(BASES / path)} - {'_base_'}
    return {(str(path), name) for path in stock for name in assigned_names(path) & ours}


def test_there_are_files_of_every_concern():
    assert set(BY_CONCERN) == {'datasets', 'memory', 'peft', 'runtime', 'schedules', 'strategies'}


def test_no_stock_config_has_a_name_of_ours():
    stock = sorted(STOCK.rglob('*.py'))
    assert len(stock) > 700
    assert not clashes(stock)


@pytest.mark.parametrize('library', ['mmpose', 'mmseg', 'mmpretrain'])
def test_no_stock_config_of_another_library_has_a_name_of_ours(library):
    root = Path(pytest.importorskip(library, exc_type=ImportError).__file__).parent
    # What MMPose keeps there describes points, and no config inherits it.
    metainfo = root / '.mim' / 'configs' / '_base_' / 'datasets' if library == 'mmpose' else None
    stock = [path for path in root.glob('.mim/configs/**/*.py') if path.parent != metainfo]
    assert len(stock) > 300
    # A few have a strategy of their own, in whose place one of ours would be set.
    assert not clashes(stock, [path for path in FILES if path.parts[0] != 'strategies'])


# Between them these hold every file of ours, one of each concern at a time.
ROUNDS = list(itertools.zip_longest(*BY_CONCERN.values()))


@pytest.mark.parametrize(('stock', 'files'), zip(VARIED, itertools.cycle(ROUNDS), strict=False))
def test_composing_leaves_a_stock_config_as_it_is(stock, files, tmp_path):
    alone = load(STOCK / stock)
    bases = [BASES / file for file in files if file is not None]
    composed = compose(tmp_path, STOCK / stock, *bases)
    own = {key: value for base in bases for key, value in load(base).items()}
    assert not own.keys() & alone.keys()
    assert dict(composed) == {**dict(alone), **own}


def test_only_files_of_one_concern_set_the_same():
    keys = {path: load(BASES / path).keys() for path in FILES}
    assert not [
        (str(one), str(other))
        for one, other in itertools.combinations(FILES, 2)
        if one.parts[0] != other.parts[0] and keys[one] & keys[other]
    ]


@pytest.mark.parametrize('concern', ['memory', 'peft', 'schedules', 'strategies'])
def test_of_two_alternatives_the_last_is_not_taken_without_a_word(concern, tmp_path):
    bases = [BASES / path for path in BY_CONCERN[concern][:2]]
    with pytest.raises(KeyError, match='Duplicate key'):
        compose(tmp_path, *bases)


@pytest.mark.parametrize('leaf', sorted((BASES.parent / 'peft').glob('*.py')), ids=lambda p: p.stem)
def test_a_leaf_dumped_and_read_again_is_the_same(leaf, tmp_path):
    need_library_of(leaf)
    cfg = load(leaf)
    cfg.dump(tmp_path / 'flat.py')
    assert dict(load(tmp_path / 'flat.py')) == dict(cfg)


@pytest.mark.parametrize('leaf', sorted((BASES.parent / 'peft').glob('*.py')), ids=lambda p: p.stem)
def test_a_leaf_is_short_says_what_it_is_and_has_the_hook(leaf):
    lines = leaf.read_text().splitlines()
    assert len(lines) <= 40
    assert lines[0].startswith('# ')
    assert re.fullmatch(rf'# mmadapt (launch 2 )?train {re.escape(leaf.name)}', lines[1])
    need_library_of(leaf)
    cfg = load(leaf)
    assert [hook['type'] for hook in cfg.custom_hooks].count('PEFTInjectHook') == 1
    assert 'mmadapt' in cfg.custom_imports['imports']
