"""A small DINO with Swin: the architecture of MMDetection's largest example."""

DINO = 'dino/dino-5scale_swin-l_8xb2-12e_coco.py'
_LAYERS = dict(num_layers=3, layer_cfg=dict(ffn_cfg=dict(feedforward_channels=512)))
SMALL = dict(
    num_queries=30,
    test_cfg=dict(max_per_img=20),
    encoder=_LAYERS,
    decoder=_LAYERS,
    neck=dict(in_channels=[24, 48, 96, 192]),
    backbone=dict(
        embed_dims=24,
        depths=[2, 2, 2, 2],
        num_heads=[1, 2, 4, 8],
        window_size=7,
        with_cp=False,
        init_cfg=None,
        convert_weights=False,
    ),
    dn_cfg=dict(group_cfg=dict(num_dn_queries=10)),
)
