"""Every leaf of detection and instance segmentation, the whole way that its user goes."""

import det_leaves
import pytest
from leaf_chain import OTHER_METHODS, Leaf, assert_trains_by, assert_trains_what_is_new

# A ResNet-50 of 16 channels, few boxes so that none has another's score but for rounding.
_NARROW = {'model.backbone.base_channels': 16}
_FPN = {**_NARROW, 'model.neck.in_channels': [64, 128, 256, 512]}
# Stochastic depth would leave out some layers of some steps.
_SWIN = {'model.backbone.depths': [1, 1, 1, 1], 'model.backbone.drop_path_rate': 0.0}
_FEW = {'model.test_cfg.max_per_img': 10}
_DENSE = {**_FEW, 'model.test_cfg.score_thr': 0.0}
_TWO_STAGES = {
    'model.test_cfg.rpn.nms_pre': 40,
    'model.test_cfg.rpn.max_per_img': 20,
    'model.train_cfg.rpn_proposal.nms_pre': 40,
    'model.train_cfg.rpn_proposal.max_per_img': 20,
    'model.test_cfg.rcnn.score_thr': 0.0,
    'model.test_cfg.rcnn.max_per_img': 10,
}
_BOX_HEAD = {'model.roi_head.bbox_head.fc_out_channels': 64}
_MASK_HEAD = {
    'model.roi_head.mask_head.conv_out_channels': 32,
    'model.roi_head.mask_head.num_convs': 1,
}
_MASKS = {'model.roi_head.bbox_head.num_classes': 2, 'model.roi_head.mask_head.num_classes': 2}
_OF_MASKS = r'roi_head\.(bbox_head\.fc_(cls|reg)|mask_head\.conv_logits)\..*'
_DETR = {
    **_NARROW,
    **_FEW,
    'model.num_queries': 12,
    'model.encoder.num_layers': 1,
    'model.decoder.num_layers': 2,
}
_SEVERAL_LEVELS = {**_DETR, 'model.neck.in_channels': [128, 256, 512]}
_ONE_STAGE = {'model.bbox_head.num_classes': 2}
_LARGE_ONLY = r'bbox_head\.((reg|kernel)_convs|rtm_(reg|kernel))\.2\..*'


def _leaf(name, counts, resized, changes, **others):
    return Leaf(f'{name}_lora_face', det_leaves, counts, resized, changes=changes, **others)


LEAVES = [
    _leaf(
        'rtmdet_tiny', _ONE_STAGE, r'bbox_head\.rtm_cls\..*', _DENSE, linear=False, idle=_LARGE_ONLY
    ),
    _leaf(
        'rtmdet_s', _ONE_STAGE, r'bbox_head\.rtm_cls\..*', _DENSE, linear=False, idle=_LARGE_ONLY
    ),
    _leaf(
        'yolox_tiny',
        _ONE_STAGE,
        r'bbox_head\.multi_level_conv_cls\..*',
        _DENSE,
        linear=False,
        idle=r'bbox_head\.multi_level_(cls|reg)_convs\.2\..*|bbox_head\.multi_level_conv_(cls|reg)\.2\..*',
    ),
    _leaf(
        'retinanet_r50',
        _ONE_STAGE,
        r'bbox_head\.retina_cls\..*',
        {**_FPN, **_DENSE, 'model.bbox_head.feat_channels': 64},
        linear=False,
        idle=r'neck\.fpn_convs\.[34]\..*',
    ),
    _leaf(
        'faster-rcnn_r50',
        {'model.roi_head.bbox_head.num_classes': 2},
        r'roi_head\.bbox_head\.fc_(cls|reg)\..*',
        {**_FPN, **_TWO_STAGES, **_BOX_HEAD},
    ),
    _leaf(
        'cascade-rcnn_r50',
        {f'model.roi_head.bbox_head.{i}.num_classes': 2 for i in range(3)},
        r'roi_head\.bbox_head\.\d\.fc_cls\..*',
        {
            **_FPN,
            **_TWO_STAGES,
            **{f'model.roi_head.bbox_head.{i}.fc_out_channels': 64 for i in range(3)},
        },
        idle=r'neck\.fpn_convs\.[123]\..*',  # no anchor of theirs lies in so small an image
    ),
    _leaf(
        'detr_r50',
        _ONE_STAGE,
        r'bbox_head\.fc_cls\..*',
        {**_DETR, 'model.neck.in_channels': [512]},
        # Its queries begin as zeros: the first self-attention attends to equal values.
        idle=r'decoder\.layers\.0\.self_attn\.attn\..*',
    ),
    _leaf('deformable-detr_r50', _ONE_STAGE, r'bbox_head\.cls_branches\..*', _SEVERAL_LEVELS),
    _leaf(
        'dino-4scale_r50',
        _ONE_STAGE,
        r'bbox_head\.cls_branches\..*|dn_query_generator\..*',
        {**_SEVERAL_LEVELS, 'model.dn_cfg.group_cfg.num_dn_queries': 6},
    ),
    _leaf(
        'mm-grounding-dino_swin-t',
        {},
        '-',
        {
            **_FEW,
            **_SWIN,
            'model.backbone.with_cp': False,
            'model.num_queries': 12,
            'model.encoder.num_layers': 1,
            'model.encoder.num_cp': 0,
            'model.decoder.num_layers': 2,
            'model.language_model.name': 'bert',
            'model.dn_cfg.group_cfg.num_dn_queries': 6,
        },
    ),
    _leaf(
        'rtmdet-ins_tiny',
        _ONE_STAGE,
        r'bbox_head\.rtm_cls\..*',
        _DENSE,
        linear=False,
        idle=_LARGE_ONLY,
    ),
    _leaf('mask-rcnn_r50', _MASKS, _OF_MASKS, {**_FPN, **_TWO_STAGES, **_BOX_HEAD, **_MASK_HEAD}),
    _leaf(
        'mask-rcnn_swin-t',
        _MASKS,
        _OF_MASKS,
        {**_SWIN, **_TWO_STAGES, **_BOX_HEAD, **_MASK_HEAD},
    ),
    _leaf(
        'mask2former_r50',
        {
            'model.panoptic_head.num_things_classes': 2,
            'model.panoptic_fusion_head.num_things_classes': 2,
            'model.panoptic_head.loss_cls.class_weight': [1.0, 1.0, 0.1],
        },
        r'panoptic_head\.cls_embed\..*',
        {
            **_NARROW,
            'model.panoptic_head.in_channels': [64, 128, 256, 512],
            'model.panoptic_head.num_queries': 12,
            'model.panoptic_head.pixel_decoder.encoder.num_layers': 1,
            'model.panoptic_head.transformer_decoder.num_layers': 2,
            'model.train_cfg.num_points': 200,
            'model.test_cfg.max_per_image': 10,
        },
    ),
]


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.name)
def test_a_leaf_trains_its_new_classes_and_adapters_and_nothing_else(leaf, chain_of):
    chain = chain_of(leaf)
    assert_trains_what_is_new(leaf, chain)
    # Masks are evaluated where there are any.
    assert ('coco/segm_mAP' in chain.metrics) == ('masks0' in chain.adapted)


def test_bert_stays_as_it_is_and_what_reads_it_is_adapted(chain_of):
    (leaf,) = (leaf for leaf in LEAVES if 'grounding' in leaf.name)
    parts = {key.split('.')[0] for key in chain_of(leaf).trained}
    assert 'language_model' not in parts
    assert {'backbone', 'neck', 'encoder', 'decoder', 'text_feat_map', 'bbox_head'} <= parts


@pytest.mark.parametrize('method', OTHER_METHODS)
@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.name)
def test_another_method_is_another_line_and_trains_what_it_says(method, leaf, stock_of, tmp_path):
    assert_trains_by(method, leaf, *stock_of(leaf), tmp_path)


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.name)
def test_the_merged_file_is_loaded_by_the_stock_model_which_predicts_the_same(
    leaf, chain_of, in_stock
):
    det_leaves.assert_same(in_stock(leaf), chain_of(leaf).adapted)
