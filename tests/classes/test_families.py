"""Which rows of which tensors are kept, for each family of heads, by formulas of its forward pass.

The models are stock ones without values; the formulas say where a class stands in each tensor, by
the number of classes, as the heads of MMDetection and the others take their outputs apart.
"""

import importlib.util
import itertools
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmadapt.classes import find_kept, names_in
from mmadapt.config_model import build_model
from mmadapt.strategies.fsdp2.meta import without_values

THERE = ('a', 'b', 'c', 'd')
# Fewer classes than the checkpoint has, and as many, so that no shape differs.
HERE = dict(fewer=('c', 'new', 'a'), as_many=('d', 'x', 'b', 'y'))
STUFF_THERE, STUFF_HERE = ('s', 't', 'u'), ('v', 't')

# Each takes the pairs of indices of the classes in both, and both numbers of classes, and returns
# the pairs of rows.


def row(pairs, here, there):
    return pairs


def row_then_background(pairs, here, there):
    return [*pairs, (here, there)]


def rows(width):
    return lambda pairs, here, there: [
        (width * i + w, width * j + w) for i, j in pairs for w in range(width)
    ]


def anchors(count, background=0):
    def find(pairs, here, there):
        wanted = [*pairs, (here, there)][: len(pairs) + background]
        return [
            (a * (here + background) + i, a * (there + background) + j)
            for a in range(count)
            for i, j in wanted
        ]

    return find


def yolo(pairs, here, there):
    box_and_objectness = [(n, n) for n in range(5)]
    classes = [(5 + i, 5 + j) for i, j in pairs]
    return [
        (a * (5 + here) + m, a * (5 + there) + n)
        for a in range(3)
        for m, n in [*box_and_objectness, *classes]
    ]


def features_then_column(pairs, here, there):
    return [*((n, n) for n in range(256)), *((256 + i, 256 + j) for i, j in pairs)]


def stuff_then_things(pairs, here, there):
    return [(STUFF_HERE.index('t'), STUFF_THERE.index('t')), (len(STUFF_HERE), len(STUFF_THERE))]


WB = r'\.(weight|bias)'
ROI = {
    r'roi_head\.bbox_head\.fc_cls' + WB: {0: row_then_background},
    r'roi_head\.bbox_head\.fc_reg' + WB: {0: rows(4)},
}
MASKS = {**ROI, r'roi_head\.mask_head\.conv_logits' + WB: {0: row}}
# Name: (library, config, where it counts classes, formulas of the axes by key).
FAMILIES = {
    'RTMDet': ('mmdet', 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py', ['bbox_head.num_classes'],
               {r'bbox_head\.rtm_cls\.[012]' + WB: {0: row}}),
    'RetinaNet': ('mmdet', 'retinanet/retinanet_r50_fpn_1x_coco.py', ['bbox_head.num_classes'],
                  {r'bbox_head\.retina_cls' + WB: {0: anchors(9)}}),
    'SSD': ('mmdet', 'ssd/ssd300_coco.py', ['bbox_head.num_classes'],
            {r'bbox_head\.cls_convs\.[045]\.0' + WB: {0: anchors(4, background=1)},
             r'bbox_head\.cls_convs\.[123]\.0' + WB: {0: anchors(6, background=1)}}),
    'YOLOv3': ('mmdet', 'yolo/yolov3_d53_8xb8-320-273e_coco.py', ['bbox_head.num_classes'],
               {r'bbox_head\.convs_pred\.[012]' + WB: {0: yolo}}),
    'DETR': ('mmdet', 'detr/detr_r50_8xb2-150e_coco.py', ['bbox_head.num_classes'],
             {r'bbox_head\.fc_cls' + WB: {0: row_then_background}}),
    # One layer under six names.
    'Deformable DETR': (
        'mmdet', 'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
        ['bbox_head.num_classes'], {r'bbox_head\.cls_branches\.[0-5]' + WB: {0: row}}),
    'DINO': ('mmdet', 'dino/dino-4scale_r50_8xb2-12e_coco.py', ['bbox_head.num_classes'],
             {r'bbox_head\.cls_branches\.[0-6]' + WB: {0: row},
              r'dn_query_generator\.label_embedding\.weight': {0: row}}),
    'Faster R-CNN': ('mmdet', 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
                     ['roi_head.bbox_head.num_classes'], ROI),
    'Mask R-CNN': ('mmdet', 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
                   ['roi_head.bbox_head.num_classes', 'roi_head.mask_head.num_classes'], MASKS),
    # Its boxes are not of a class.
    'Cascade Mask R-CNN': (
        'mmdet', 'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py',
        [*(f'roi_head.bbox_head.{n}.num_classes' for n in range(3)),
         'roi_head.mask_head.num_classes'],
        {r'roi_head\.bbox_head\.[012]\.fc_cls' + WB: {0: row_then_background},
         r'roi_head\.mask_head\.[012]\.conv_logits' + WB: {0: row}}),
    'PointRend': (
        'mmdet', 'point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py',
        [f'roi_head.{head}_head.num_classes' for head in ('bbox', 'mask', 'point')],
        {**ROI,
         r'roi_head\.mask_head\.fc_logits' + WB: {0: rows(7 * 7)},
         r'roi_head\.point_head\.fcs\.[012]\.conv\.weight': {1: features_then_column},
         r'roi_head\.point_head\.fc_logits\.weight': {0: row, 1: features_then_column},
         r'roi_head\.point_head\.fc_logits\.bias': {0: row}}),
    'Mask2Former': ('mmdet', 'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
                    ['panoptic_head.num_things_classes', 'panoptic_fusion_head.num_things_classes'],
                    {r'panoptic_head\.cls_embed' + WB: {0: row_then_background}}),
    'Panoptic FPN': (
        'mmdet', 'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
        ['roi_head.bbox_head.num_classes', 'roi_head.mask_head.num_classes',
         'semantic_head.num_things_classes', 'panoptic_fusion_head.num_things_classes'],
        {**MASKS, r'semantic_head\.conv_logits' + WB: {0: stuff_then_things}}),
    'DeepLabV3+': ('mmseg', 'deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024.py',
                   ['decode_head.num_classes', 'auxiliary_head.num_classes'],
                   {r'(decode|auxiliary)_head\.conv_seg' + WB: {0: row}}),
    'PointRend of MMSegmentation': (
        'mmseg', 'point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py',
        ['decode_head.0.num_classes', 'decode_head.1.num_classes'],
        {r'decode_head\.0\.conv_seg' + WB: {0: row},
         r'decode_head\.1\.fcs\.[012]\.conv\.weight': {1: features_then_column},
         r'decode_head\.1\.fc_seg\.weight': {0: row, 1: features_then_column},
         r'decode_head\.1\.fc_seg\.bias': {0: row}}),
    'Segmenter': ('mmseg', 'segmenter/segmenter_vit-t_mask_8xb1-160k_ade20k-512x512.py',
                  ['decode_head.num_classes'],
                  {r'decode_head\.cls_emb': {1: row}, r'decode_head\.mask_norm' + WB: {0: row}}),
    'ResNet': ('mmpretrain', 'resnet/resnet50_8xb32_in1k.py', ['head.num_classes'],
               {r'head\.fc' + WB: {0: row}}),
    'RTMPose': ('mmpose',
                'body_2d_keypoint/rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py',
                ['head.out_channels'], {r'head\.final_layer' + WB: {0: row}}),
    'HRNet': ('mmpose',
              'body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py',
              ['head.out_channels'], {r'head\.final_layer' + WB: {0: row}}),
    'RLE': ('mmpose',
            'body_2d_keypoint/topdown_regression/coco/td-reg_res50_rle-8xb64-210e_coco-256x192.py',
            ['head.num_joints'], {r'head\.fc' + WB: {0: rows(4)}}),
    # Of 18 tensors; the deviations of the new keypoints are those of their data set.
    'RTMO': ('mmpose', 'body_2d_keypoint/rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py',
             ['head.num_keypoints'],
             {r'head\.head_module\.out_kpt_reg\.[01]' + WB: {0: rows(2)},
              r'head\.head_module\.out_kpt_vis\.[01]' + WB: {0: row},
              r'head\.dcc\.pose_to_kpts\.[01]\.(weight|bias|running_mean|running_var)':
                  {0: rows(128)},
              r'head\.dcc\.sigma_fc\.0' + WB: {0: row},
              r'head\.dcc\.pos_enc': {0: row},
              r'head\.loss_oks\.sigmas': None}),
}  # fmt: skip


def config(library, name, places, count):
    folder = Path(importlib.util.find_spec(library).origin).parent / '.mim' / 'configs'
    cfg = Config.fromfile(folder / name)
    cfg.merge_from_dict({f'model.{place}': count for place in places})
    return cfg


def build(cfg):
    with without_values():
        return build_model(cfg)


def metainfo(library, names, stuff):
    if library == 'mmpose':
        return dict(keypoint_id2name=dict(enumerate(names)))
    return dict(classes=[*names, *stuff], thing_classes=names, stuff_classes=stuff)


def numbered(model, sign):
    """Return other numbers everywhere, for the tensors that are not the body's."""
    heads = ('head', '_head', 'generator')
    return {
        key: sign * torch.arange(1.0, tensor.numel() + 1).view(tensor.shape)
        for key, tensor in model.state_dict().items()
        if key.split('.')[0].endswith(heads)
    }


@pytest.mark.parametrize('which', HERE)
@pytest.mark.parametrize('family', FAMILIES)
def test_the_rows_of_a_class_go_where_its_head_reads_them(family, which):
    library, name, places, formulas = FAMILIES[family]
    pytest.importorskip(library, reason=f'{library} is not installed')
    here = HERE[which]
    stuff = (STUFF_HERE, STUFF_THERE) if family == 'Panoptic FPN' else ((), ())
    counts = {'model.semantic_head.num_stuff_classes': len(stuff[1])} if stuff[1] else {}
    there_cfg = config(library, name, places, len(THERE))
    there_cfg.merge_from_dict(counts)
    source = numbered(build(there_cfg), -1)
    cfg = config(library, name, places, len(here))
    cfg.merge_from_dict({place: len(stuff[0]) for place in counts})
    model = build(cfg)
    own = numbered(model, 1)
    pairs = [(here.index(n), THERE.index(n)) for n in here if n in THERE]
    assert len(pairs) == 2
    kept = find_kept(
        model,
        cfg,
        names_in(metainfo(library, here, stuff[0])),
        names_in(metainfo(library, THERE, stuff[1])),
        source,
        'FILE',
    )
    expected = {}
    for key, formula in itertools.product(own, formulas):
        if re.fullmatch(formula, key):
            expected[key] = own[key].clone()
            axes = formulas[formula] or {}
            found = {axis: f(pairs, len(here), len(THERE)) for axis, f in axes.items()}
            first = found.get(0) or [(slice(None), slice(None))]
            second = found.get(1) or [(slice(None), slice(None))]
            for (i, j), (m, n) in itertools.product(first, second) if axes else ():
                expected[key][(i, m) if 1 in found else i] = source[key][
                    (j, n) if 1 in found else j
                ]
    assert kept.changed == expected.keys()
    assert not kept.left
    state = dict(source)
    kept.fill(state, own, source)
    for key in expected:
        assert torch.equal(state[key], expected[key]), key
    untouched = source.keys() - expected.keys()
    assert all(state[key] is source[key] for key in untouched)
