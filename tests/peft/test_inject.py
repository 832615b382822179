"""Injection into stock detectors: the counts, the rules, and that an error changes nothing."""

import copy

import pytest
import torch
from torch import nn

from mmadapt import UserError, inject, merge, remove
from mmadapt.adapters import ADAPTERS, AdapterLayer, LoRA
from mmadapt.peft import get_state, merged_state_dict

RTMDET_S = 'rtmdet/rtmdet_s_8xb32-300e_coco.py'
FASTER_RCNN = 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
DEPTHWISE = dict(type='Conv2d', min_groups=2)


def lora(r=2, **options):
    return dict(type='LoRA', r=r, **options)


def photograph(model):
    """Everything of a model that an injection could change."""
    return (
        {name: (p, p.requires_grad, p.detach().clone()) for name, p in model.named_parameters()},
        {name: (m, type(m), m.training, set(vars(m))) for name, m in model.named_modules()},
        set(model.state_dict()),
    )


def assert_same(before, after):
    assert before[1:] == after[1:]
    assert before[0].keys() == after[0].keys()
    for name, (parameter, grad, value) in before[0].items():
        assert after[0][name][0] is parameter, name
        assert after[0][name][1] == grad, name
        assert torch.equal(after[0][name][2], value), name


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4)
        )
        self.neck = nn.Linear(4, 4)
        self.bbox_head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        x = self.backbone(x).permute(0, 2, 3, 1)
        return self.bbox_head(self.neck(x).permute(0, 3, 1, 2))


def action(report, name):
    return next(layer.action for layer in report.layers if layer.name == name)


# The parameter counts of a public fine-tuning log and of the settings around it.
@pytest.mark.parametrize(
    ('peft', 'line'),
    [
        (dict(method=lora(32)), '1491594 || all params: 6009438 || trainable%: 24.82'),
        (dict(method=lora(8)), '639618 || all params: 5157462 || trainable%: 12.40'),
        (dict(method=lora(16)), '923610 || all params: 5441454 || trainable%: 16.97'),
        (
            dict(method=lora(32), exclude=[DEPTHWISE]),
            '1471794 || all params: 6009438 || trainable%: 24.49',
        ),
        (dict(method=dict(type='DoRA', r=8)), '647298 || all params: 5165142 || trainable%: 12.53'),
        (
            dict(method=dict(type='DoRA', r=32)),
            '1499274 || all params: 6017118 || trainable%: 24.92',
        ),
        (dict(method=dict(type='SSF')), '370986 || all params: 4888830 || trainable%: 7.59'),
        (dict(method=None), '335826 || all params: 4873470 || trainable%: 6.89'),
        (
            dict(method=None, targets='all', head='train', norm='train'),
            '4873470 || all params: 4873470 || trainable%: 100.00',
        ),
    ],
)
def test_rtmdet_tiny_has_the_reference_counts(build_detector, peft, line):
    model = build_detector()
    report = inject(model, peft)
    assert report.line() == f'trainable params: {line}'
    model.train()
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert f'trainable params: {trainable} ||' in report.line()


def test_rtmdet_tiny_adapts_60_convs_and_trains_8_depthwise_ones(build_detector):
    report = inject(build_detector(), dict(method=lora(32)))
    adapted = [layer for layer in report.layers if layer.action == 'adapt']
    assert len(adapted) == 60
    assert sum(layer.extra for layer in adapted) == 1135968
    grouped = [layer for layer in report.layers if layer.why == 'grouped convolution']
    assert (len(grouped), sum(layer.parameters for layer in grouped)) == (8, 19800)
    parts = {
        part: sum(layer.parameters for layer in report.layers if layer.name.startswith(part + '.'))
        for part in ('backbone', 'neck', 'bbox_head')
    }
    assert parts == dict(backbone=2348700, neck=2188944, bbox_head=335826)


def test_rtmdet_s_has_the_reference_count(build_detector):
    report = inject(build_detector(RTMDET_S), dict(method=lora(32)))
    assert (report.trainable, report.total) == (2214482, 10444802)


def test_after_a_merge_the_model_has_its_own_parameters_again(build_detector):
    model = build_detector()
    inject(model, dict(method=lora(32)))
    merge(model)
    assert sum(p.numel() for p in model.parameters()) == 4873470


def test_an_untrained_model_computes_bit_for_bit_what_it_did(build_detector):
    model = build_detector().eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model(x, mode='tensor')
        inject(model, dict(method=lora(8, dropout=0.1), head='adapt'))
        after = model(x, mode='tensor')
    assert not model.training
    for branch, wanted in zip(after, before, strict=True):
        for level, level_wanted in zip(branch, wanted, strict=True):
            assert torch.equal(level, level_wanted)


def test_a_shared_head_conv_is_adapted_once_acts_on_all_levels_and_merges_exactly(build_detector):
    model = build_detector().eval()
    report = inject(model, dict(method=lora(4), head='adapt'))
    convs = [model.bbox_head.cls_convs[level][0].conv for level in range(3)]
    assert convs[0] is convs[1] is convs[2]
    assert isinstance(convs[0], AdapterLayer)
    rows = [
        layer
        for layer in report.layers
        if layer.name.startswith('bbox_head.cls_convs') and layer.name.endswith('0.conv')
    ]
    assert [(row.name, row.names) for row in rows] == [('bbox_head.cls_convs.0.0.conv', 3)]
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model(x, mode='tensor')[0]
        convs[0].lora_B.normal_()
        after = model(x, mode='tensor')
        for level in range(3):
            assert (before[level] - after[0][level]).abs().max() > 1e-4, level
        stock = build_detector().eval()
        stock.load_state_dict(merged_state_dict(model), strict=True)
        merged = stock(x, mode='tensor')
    for branch, wanted in zip(merged, after, strict=True):
        for level, level_wanted in zip(branch, wanted, strict=True):
            torch.testing.assert_close(level, level_wanted, rtol=1e-5, atol=1e-5)


def test_frozen_stages_are_left_out_and_not_counted(build_detector):
    model = build_detector(FASTER_RCNN)
    report = inject(model, dict(method=lora()))
    frozen = [layer for layer in report.layers if layer.why == 'frozen by the model']
    assert {layer.name.split('.')[1] for layer in frozen} == {'conv1', 'bn1', 'layer1'}
    assert all(layer.action == 'freeze' for layer in frozen)
    model.train()
    assert report.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert not any(isinstance(m, AdapterLayer) for m in model.backbone.layer1.modules())
    assert all(
        isinstance(model.get_submodule(name), AdapterLayer)
        for name in (
            'backbone.layer2.0.conv1',
            'neck.fpn_convs.0.conv',
            'rpn_head.rpn_conv',
            'roi_head.bbox_head.fc_cls',
        )
    )


def test_naming_a_frozen_stage_is_an_error_that_says_how_to_unfreeze_it(build_detector):
    with pytest.raises(
        UserError,
        match="'backbone.layer1' means only layers that the model itself "
        'keeps frozen.*frozen_stages=-1',
    ):
        inject(build_detector(FASTER_RCNN), dict(method=lora(), targets=['backbone.layer1']))


def test_a_frozen_stage_without_weights_is_an_error_unless_it_was_asked_for(build_detector):
    missing = ['backbone.conv1.weight']
    with pytest.raises(
        UserError,
        match='backbone.conv1 is kept frozen by the model .*no pretrained'
        '.*peft.allow_random_base=True',
    ):
        inject(build_detector(FASTER_RCNN), dict(method=lora()), missing)
    inject(build_detector(FASTER_RCNN), dict(method=lora(), allow_random_base=True), missing)


@pytest.mark.parametrize(
    'peft',
    [
        dict(method=lora()),
        dict(method=lora(), head='freeze'),
        dict(method=lora(), head='adapt'),
        dict(method=lora(), targets=['neck'], exclude=['backbone']),
        dict(method=None, head='train'),
    ],
)
def test_layers_without_a_pretrained_weight_train_fully_wherever_they_are(peft):
    model = Detector()
    report = inject(model, peft, ['backbone.0.weight', 'backbone.2.running_mean', 'bbox_head.bias'])
    for name in ('backbone.0', 'backbone.2', 'bbox_head'):
        assert action(report, name) == 'train'
    assert model.backbone[0].weight.requires_grad
    assert model.train().backbone[2].training
    assert model.bbox_head.weight.requires_grad
    assert {'backbone.0.weight', 'bbox_head.weight'} <= set(get_state(model).trained)


def test_a_missing_batch_counter_is_no_missing_weight():
    report = inject(Detector(), dict(method=lora()), ['backbone.2.num_batches_tracked'])
    assert action(report, 'backbone.2') == 'freeze'


@pytest.mark.parametrize(
    ('missing', 'wanted'),
    [
        (['second.weight'], 'adapt'),
        (['neck.weight'], 'adapt'),
        (['neck.weight', 'second.weight'], 'train'),
    ],
)
def test_a_shared_layer_has_its_weight_if_it_came_under_one_of_its_names(missing, wanted):
    model = Detector()
    model.second = model.neck
    assert action(inject(model, dict(method=lora()), missing), 'neck') == wanted


@pytest.mark.parametrize(
    ('peft', 'wanted'),
    [
        (dict(), ('adapt', 'train', 'adapt', 'train')),
        (dict(targets='all'), ('adapt', 'adapt', 'adapt', 'train')),
        (dict(targets='all-conv'), ('adapt', 'adapt', 'freeze', 'train')),
        (dict(targets='all-linear'), ('freeze', 'freeze', 'adapt', 'train')),
        (dict(targets=['neck']), ('freeze', 'freeze', 'adapt', 'train')),
        (dict(targets=['backbone']), ('adapt', 'adapt', 'freeze', 'train')),
        (dict(targets=['neck', 'bbox_head']), ('freeze', 'freeze', 'adapt', 'adapt')),
        (dict(exclude=['neck']), ('adapt', 'train', 'freeze', 'train')),
        (dict(exclude=['backbone']), ('freeze', 'freeze', 'adapt', 'train')),
        (dict(exclude=['bbox_head']), ('adapt', 'train', 'adapt', 'freeze')),
        (dict(head='adapt'), ('adapt', 'train', 'adapt', 'adapt')),
        (dict(head='freeze'), ('adapt', 'train', 'adapt', 'freeze')),
        (dict(head=['bbox_head']), ('adapt', 'train', 'adapt', 'train')),
        (dict(head=['neck']), ('adapt', 'train', 'train', 'adapt')),
        (dict(method=None), ('freeze', 'freeze', 'freeze', 'train')),
        (dict(method=None, targets='all'), ('train', 'train', 'train', 'train')),
        (dict(method=None, targets='all', head='freeze'), ('train', 'train', 'train', 'freeze')),
        (dict(method=None, targets='all-linear'), ('freeze', 'freeze', 'train', 'train')),
        (dict(method=None, targets='all-conv'), ('train', 'train', 'freeze', 'train')),
        (
            dict(method=None, targets=['backbone.0'], head='freeze'),
            ('train', 'freeze', 'freeze', 'freeze'),
        ),
        (
            dict(method=None, targets='all', exclude=['backbone']),
            ('freeze', 'freeze', 'train', 'train'),
        ),
    ],
)
def test_what_the_rules_decide(peft, wanted):
    report = inject(Detector(), {'method': lora(), **peft})
    names = ('backbone.0', 'backbone.1', 'neck', 'bbox_head')
    assert tuple(action(report, name) for name in names) == wanted


@pytest.mark.parametrize('peft', [dict(method=lora()), dict(method=None, targets='all')])
def test_what_is_called_frozen_has_no_gradient_and_the_rest_has(peft):
    torch.manual_seed(0)
    model = Detector()
    report = inject(model, peft)
    for parameter in (m.lora_B for m in model.modules() if isinstance(m, AdapterLayer)):
        nn.init.normal_(parameter)
    model.train()(torch.randn(2, 3, 8, 8)).square().sum().backward()
    for layer in report.layers:
        module = model.get_submodule(layer.name)
        for name, parameter in module.named_parameters(recurse=False):
            trains = layer.action == 'train' or name.startswith('lora_')
            assert (parameter.grad is not None) is trains, f'{layer.name}.{name}'
            if trains:
                assert parameter.grad.abs().max() > 0, f'{layer.name}.{name}'


class Refreezing(Detector):
    """Freezes a layer when its training flag changes, as no rule can foresee."""

    def train(self, mode=True):
        super().train(mode)
        if isinstance(self.neck, AdapterLayer):
            self.neck.lora_A.requires_grad_(False)
        return self


class Tied(Detector):
    def __init__(self):
        super().__init__()
        self.second = nn.Linear(4, 4)
        self.second.weight = self.neck.weight


class Fused(Detector):
    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(4, 2, 8)


class Instance(Detector):
    def __init__(self):
        super().__init__()
        self.norm = nn.InstanceNorm1d(4, affine=True, track_running_stats=True)


@pytest.mark.parametrize(
    ('model', 'peft', 'not_loaded', 'message'),
    [
        (Detector, dict(method=lora(), targets=['nekc']), (), "'nekc' matches .*nearest: 'neck'"),
        (
            Detector,
            dict(method=lora(), exclude=['nekc']),
            (),
            "peft.exclude: 'nekc' matches no layer",
        ),
        (Detector, dict(method=lora(), head=['bbox']), (), "peft.head: 'bbox' matches no layer"),
        (
            Detector,
            dict(method=lora(), targets=['backbone.2']),
            (),
            "'backbone.2' means layers of the "
            r"types \['BatchNorm2d'\], which LoRA cannot adapt",
        ),
        (Detector, dict(method=None, head='adapt'), (), "head='adapt' needs a peft.method"),
        (Detector, dict(method=None, head='freeze'), (), 'peft leaves nothing to train'),
        (
            Detector,
            dict(method=lora(), exclude=['backbone', 'neck']),
            (),
            'LoRA has no layer to adapt',
        ),
        (Detector, dict(method=lora(), targets=[]), (), r'no layer to adapt .*peft.targets=\[\]'),
        (
            nn.Bilinear,
            dict(method=lora(), head='freeze'),
            (),
            'has no layer to adapt in this Bilinear',
        ),
        (Instance, dict(method=lora()), (), 'norm: the statistics of a InstanceNorm1d cannot be'),
        (
            Refreezing,
            dict(method=lora()),
            (),
            r'Refreezing.train\(\) freezes neck.lora_A and 0 more',
        ),
        (
            Tied,
            dict(method=lora(), targets=['second']),
            (),
            "'second' means only layers that share ",
        ),
        (
            Fused,
            dict(method=lora()),
            (),
            'encoder, a TransformerEncoderLayer, uses the weights .*peft.exclude',
        ),
    ],
)
@pytest.mark.parametrize('training', [True, False])
def test_after_an_error_the_model_is_what_it_was(model, peft, not_loaded, message, training):
    model = model(1, 1, 1) if model is nn.Bilinear else model()
    if isinstance(model, Detector):
        model.neck.weight.requires_grad_(False)
    model.train(training)
    next(iter(model.children()), model).eval()
    before = photograph(model)
    with pytest.raises(UserError, match=message):
        inject(model, peft, not_loaded)
    assert_same(before, photograph(model))
    assert get_state(model) is None


def test_after_an_error_of_a_method_the_model_is_what_it_was(monkeypatch):
    class Failing(LoRA):
        def create(self, weight, bias):
            if weight.dim() == 2:
                raise RuntimeError('out of memory')
            return super().create(weight, bias)

    monkeypatch.setitem(ADAPTERS.module_dict, 'Failing', Failing)
    model = Detector()
    before = photograph(model)
    with pytest.raises(RuntimeError, match='out of memory'):
        inject(model, dict(method=dict(type='Failing')))
    assert_same(before, photograph(model))


def test_a_second_injection_is_refused_and_changes_nothing():
    model = Detector()
    inject(model, dict(method=lora()))
    before = photograph(model)
    with pytest.raises(UserError, match='this Detector is adapted already; call mmadapt.remove'):
        inject(model, dict(method=lora(4)))
    assert_same(before, photograph(model))


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize(
    'peft',
    [
        dict(method=lora(dropout=0.1)),
        dict(method=lora(), head='adapt', targets='all'),
        dict(method=None, targets='all'),
        dict(method=lora(), norm='stats'),
    ],
)
def test_removing_gives_back_the_very_same_model(peft, training):
    torch.manual_seed(0)
    model = Detector().train(training)
    model.neck.bias.requires_grad_(False)
    x, before = torch.randn(2, 3, 8, 8), photograph(model)
    wanted = copy.deepcopy(model).eval()(x)
    inject(model, peft)
    assert model.training is training
    remove(model)
    assert_same(before, photograph(model))
    assert torch.equal(model.eval()(x), wanted)


def test_removing_from_a_stock_detector_gives_back_its_frozen_stages(build_detector):
    model = build_detector(FASTER_RCNN)
    model.eval()
    before = photograph(model)
    inject(model, dict(method=lora()))
    remove(model)
    assert_same(before, photograph(model))


def test_injecting_leaves_the_mode_of_every_part_as_it_was():
    model = Detector()
    model.backbone.eval()
    inject(model, dict(method=lora(), norm='stats'))
    assert model.training
    assert not any(m.training for m in model.backbone.modules())


def test_layers_that_share_a_weight_stay_frozen_under_auto():
    model = Tied()
    report = inject(model, dict(method=lora()))
    assert action(report, 'neck') == action(report, 'second') == 'freeze'
    assert not model.neck.weight.requires_grad


def test_a_weight_that_a_trained_and_a_frozen_layer_share_trains():
    model = Tied()
    inject(model, dict(method=lora(), head=['neck']))
    assert model.neck.weight.requires_grad


def test_a_fused_evaluation_path_is_no_obstacle_where_nothing_in_it_is_adapted():
    inject(Fused(), dict(method=lora(), exclude=['encoder']))


def test_a_conv_module_that_bypasses_its_conv_is_refused():
    cnn = pytest.importorskip('mmcv.cnn')
    model = Detector()
    model.block = cnn.ConvModule(4, 4, 1, norm_cfg=dict(type='BN'), efficient_conv_bn_eval=True)
    with pytest.raises(UserError, match='block, a ConvModule.*efficient_conv_bn_eval=False'):
        inject(model, dict(method=lora()))


def test_a_rank_beyond_that_of_a_weight_is_used_and_said_to_be_harmless():
    model = Detector()
    report = inject(model, dict(method=lora(5)))
    assert model.neck.lora_A.shape == (5, 4)
    assert report.warnings == [
        'r=5 is a higher rank than 2 narrow layers can have, first '
        'backbone.0 (4x3x3x3: 4): harmless, some parameters too many; '
        "in the config, rank_pattern={'backbone.0': 4} of peft.method saves those of the first"
    ]
    saved = inject(Detector(), dict(method=lora(5, rank_pattern={'backbone.0': 4, 'neck': 4})))
    assert saved.warnings == []
    assert inject(Detector(), dict(method=lora(4))).warnings == []


def test_a_model_without_a_head_is_warned_about():
    report = inject(nn.Sequential(nn.Linear(2, 2)), dict(method=lora()))
    assert 'Sequential has no part called head' in report.warnings[0]


def test_a_model_that_is_a_single_layer_merges_too():
    model, x = nn.Linear(4, 4), torch.randn(2, 4)
    inject(model, dict(method=lora()))
    assert get_state(model).trained == []
    nn.init.normal_(model.lora_B)
    wanted = model(x)
    fresh = nn.Linear(4, 4)
    fresh.load_state_dict(merged_state_dict(model))
    torch.testing.assert_close(fresh(x), wanted)


def test_injecting_a_detector_is_fast(build_detector):
    import time

    model = build_detector()
    start = time.process_time()
    inject(model, dict(method=lora(32)))
    # 0.2 s for 100 layers are the aim; a slow machine gets some more.
    assert time.process_time() - start < 2


def test_ssf_leaves_out_a_convolution_that_undoes_every_scale_and_has_no_bias():
    cnn = pytest.importorskip('mmcv.cnn')
    model = nn.Sequential(
        cnn.ConvWS2d(3, 4, 1, bias=False),
        nn.Conv2d(4, 4, 1),
        cnn.ConvModule(
            4, 4, 1, conv_cfg=dict(type='ConvWS'), norm_cfg=dict(type='GN', num_groups=2)
        ),
    )
    report = inject(model, dict(method=dict(type='SSF'), head='adapt'))
    assert [action(report, n) for n in ('0', '1', '2.conv', '2.gn')] == [
        'freeze',
        'adapt',
        'freeze',
        'adapt',
    ]


def test_ssf_stays_on_a_convolution_before_a_norm_that_has_no_form():
    """Such as MMPretrain's LayerNorm2d, behind every ConvNeXt's strided convolutions."""

    class LayerNorm2d(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), LayerNorm2d(4), nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)
    )
    report = inject(model, dict(method=dict(type='SSF'), head='adapt'))
    assert [action(report, n) for n in '0123'] == ['adapt', 'freeze', 'freeze', 'adapt']
