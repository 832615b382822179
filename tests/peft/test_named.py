"""Several adapters on one model: what they compute, and that the base stays what it was.

The truth is always another model: the one that an adapter was trained in, or the untouched base.
"""

import copy
import gc
import io
import json
from pathlib import Path

import pytest
import torch
from outcomes import needs_gpu
from torch import nn
from torch._subclasses import FakeTensor
from torch.nn.modules.batchnorm import _BatchNorm

from mmadapt import (
    UserError,
    active_adapter,
    adapter_names,
    inject,
    load_adapter,
    merge,
    remove,
    save_adapter,
    set_adapter,
    unmerge,
)
from mmadapt.files import BaseRecord
from mmadapt.peft import get_state, merged_state_dict

RTMDET = 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
_SMALL = dict(
    backbone=dict(depth=18, base_channels=16, norm_eval=False),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=32),
)
_FEW = dict(score_thr=0.0, nms_pre=100, max_per_img=20)


def _faster(**box_head):
    box_head = dict(in_channels=32, fc_out_channels=64, **box_head)
    return 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', dict(
        _SMALL,
        rpn_head=dict(in_channels=32, feat_channels=32),
        roi_head=dict(bbox_roi_extractor=dict(out_channels=32), bbox_head=box_head),
        test_cfg=dict(
            rcnn=dict(score_thr=0.0, max_per_img=20), rpn=dict(nms_pre=100, max_per_img=20)
        ),
    )


DETECTORS = {
    'RTMDet': (RTMDET, dict(test_cfg=_FEW)),
    'RetinaNet': (
        'retinanet/retinanet_r50_fpn_1x_coco.py',
        dict(_SMALL, bbox_head=dict(in_channels=32, feat_channels=32), test_cfg=_FEW),
    ),
    'Faster R-CNN': _faster(),
    'class-agnostic Faster R-CNN': _faster(reg_class_agnostic=True),
}
# Of other methods, ranks, targets, policies and numbers of classes.
ADAPTERS = {
    'face': (1, dict(method=dict(type='LoRA', r=2))),
    'animals': (5, dict(method=dict(type='SSF'), norm='stats')),
    'tools': (2, dict(method=dict(type='DoRA', r=3), targets=['neck'], norm='train', head='train')),
}
LORA = dict(type='LoRA', r=2, alpha=6)


class Detector(nn.Module):
    def __init__(self, classes=3, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2, stride=2)
        )
        self.neck = nn.Linear(4, 4)
        self.lstm = nn.LSTM(4, 4)
        torch.manual_seed(classes)
        self.bbox_head = nn.Sequential(
            nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, classes, 1)
        )

    def forward(self, x):
        x = self.neck(self.backbone(x).permute(0, 2, 3, 1))
        x = x + self.lstm(x.flatten(1, 2))[0].view_as(x)
        return self.bbox_head(x.permute(0, 3, 1, 2))


X = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
SMALL = {
    'face': (1, dict(method=LORA)),
    'animals': (5, dict(method=dict(type='SSF'), norm='stats')),
    'tools': (3, dict(method=dict(type='DoRA', r=1), head='adapt', norm='train')),
    'all': (3, dict(method=None, targets='all', norm='train')),
}


def train(model, steps=2):
    """Change whatever training changes."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    mode = model.training
    for _ in range(steps):
        optimizer.zero_grad()
        model.train()(torch.randn_like(X)).square().mean().backward()
        optimizer.step()
    return model.train(mode)


def disturb(model):
    """Change what training changes, without training."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.01)
        for name, buffer in model.named_buffers():
            if name.startswith('bbox_head') and name.endswith('running_mean'):
                buffer.add_(0.1)
    return model


def on_base(model, base):
    """Give a model the base's weights where they fit, and return the keys where they do not."""
    own, theirs = model.state_dict(), base.state_dict()
    fitting = {key: value for key, value in theirs.items() if own[key].shape == value.shape}
    model.load_state_dict(fitting, strict=False)
    return sorted(set(own) - set(fitting))


def photograph(model):
    """All that a model is: its modules, their attributes, tensors and modes."""
    return (
        [
            (
                m,
                type(m),
                m.training,
                {
                    k: v
                    for k, v in vars(m).items()
                    if k
                    not in (
                        '_parameters',
                        '_buffers',
                        '_mmadapt',
                        '_flat_weights',
                        '_flat_weight_refs',
                    )
                },
            )
            for m in model.modules()
        ],
        {
            key: (t, t.requires_grad, t.detach().clone())
            for key, t in model.state_dict(keep_vars=True).items()
        },
    )


def assert_same(model, before):
    modules, tensors = photograph(model)
    for (m, *now), (known, *then) in zip(modules, before[0], strict=True):
        assert m is known
        assert now[:2] == then[:2], type(m)
        assert now[2].keys() == then[2].keys()
        assert all(now[2][key] is then[2][key] for key in now[2]), type(m)
    assert list(tensors) == list(before[1])
    for key, (tensor, grad, value) in before[1].items():
        assert tensors[key][0] is tensor, key
        assert tensors[key][1] == grad, key
        assert torch.equal(tensors[key][2], value), key


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Adapter folders of trained small Detectors, and the models that they were saved from."""
    root, made = tmp_path_factory.mktemp('adapters'), {}
    for name, (classes, cfg) in SMALL.items():
        model = Detector(classes)
        missing = on_base(model, Detector())
        inject(model, cfg, not_loaded=missing)
        save_adapter(
            train(model).eval(),
            str(root / name),
            class_names=[f'{name} {i}' for i in range(classes)],
        )
        made[name] = str(root / name), model
    return made


@pytest.fixture
def served(folders):
    """The base with all adapters, the last one active."""
    model = Detector().eval()
    for name, (folder, _) in folders.items():
        load_adapter(model, folder, name)
    return model


def predict(model, images):
    from mmdet.structures import DetDataSample

    size = dict(
        img_shape=(64, 64),
        ori_shape=(64, 64),
        scale_factor=(1.0, 1.0),
        batch_input_shape=(64, 64),
        pad_shape=(64, 64),
    )
    samples = [DetDataSample(metainfo=size) for _ in images]
    with torch.no_grad():
        found = [s.pred_instances for s in model.predict(images, samples, rescale=True)]
    return [tensor for f in found for tensor in (f.bboxes, f.scores, f.labels)]


def numbers(model):
    """All numbers that its modules know: of classes, of channels, and every other."""
    return {
        name: {key: value for key, value in vars(m).items() if type(value) in (int, float, bool)}
        for name, m in model.named_modules()
    }


def assert_equal(ours, wanted):
    assert len(ours) == len(wanted)
    assert all(torch.equal(a, b) for a, b in zip(ours, wanted, strict=True))


@pytest.mark.parametrize('kind', DETECTORS)
def test_every_adapter_predicts_what_the_detector_of_its_own_number_of_classes_does(
    build_detector, tmp_path, kind
):
    name, changes = DETECTORS[kind]
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    base = build_detector(name, 3, **changes).eval()
    if kind == 'RTMDet':  # else its boxes, of random weights, have no size
        for layer in base.modules():
            if isinstance(layer, _BatchNorm):
                layer.running_var.clamp_(min=0.2)
        for layer in base.bbox_head.rtm_reg:
            nn.init.constant_(layer.bias, 1.0)
    base.dataset_meta = dict(classes=('a', 'b', 'c'), palette=[(0, 0, 0)] * 3)
    before, wanted = photograph(base), {None: predict(base, images)}
    known = {None: numbers(base)}
    for adapter, (classes, cfg) in ADAPTERS.items():
        model = build_detector(name, classes, **changes).eval()
        missing = on_base(model, base)
        inject(model, cfg, not_loaded=missing)
        wanted[adapter], known[adapter] = predict(disturb(model), images), numbers(model)
        save_adapter(
            model, str(tmp_path / adapter), class_names=[f'{adapter} {i}' for i in range(classes)]
        )
        assert len(wanted[adapter][2]), 'nothing predicted proves nothing'
        if classes > 3:
            assert wanted[adapter][2].max() >= 3
        # As it was before the numbers of classes were noted.
        if adapter == 'animals':
            config = json.loads((tmp_path / adapter / 'adapter_config.json').read_text())
            del config['mmadapt']['class_counts']
            config['mmadapt']['class_names'] = None
            (tmp_path / adapter / 'adapter_config.json').write_text(json.dumps(config))

    for adapter in ADAPTERS:
        load_adapter(base, str(tmp_path / adapter), adapter)
        assert active_adapter(base) == adapter
        assert_equal(predict(base, images), wanted[adapter])
    for adapter in ('face', None, 'animals', 'tools', None):
        set_adapter(base, adapter)
        assert_equal(predict(base, images), wanted[adapter])
        assert numbers(base) == known[adapter]
        if adapter == 'face':
            assert base.dataset_meta == dict(classes=('face 0',))
    assert_same(base, before)
    assert base.dataset_meta['classes'] == ('a', 'b', 'c')


@pytest.mark.parametrize(
    ('training', 'names'),
    [(True, ['face', 'animals', 'tools']), (False, ['face', 'animals', 'tools', 'all'])],
)
def test_loading_training_and_switching_off_leaves_the_very_same_base(folders, training, names):
    model = Detector().train(training)
    model.neck.bias.requires_grad_('all' in names)
    before = photograph(model)
    output = copy.deepcopy(model).eval()(X)
    for name in names:
        load_adapter(model, folders[name][0], name)
        train(model)
    set_adapter(model, None)
    assert_same(model, before)
    assert torch.equal(copy.deepcopy(model).eval()(X), output)
    for name in (*names, None, 'face', None):
        set_adapter(model, name)
        if name is not None:
            train(model)
    assert_same(model, before)
    remove(model)
    assert_same(model, before)
    assert '_mmadapt' not in vars(model)


def test_each_adapter_computes_what_the_model_it_was_trained_in_does(folders, served):
    for name in [*SMALL, *reversed(SMALL)]:
        set_adapter(served, name)
        ours, wanted = served(X), folders[name][1](X)
        assert torch.equal(ours, wanted)
        assert ours.shape[1] == SMALL[name][0]
    assert adapter_names(served) == list(SMALL)
    # One that trains whole layers is a stock model of other values: an LSTM has them in a list too.
    set_adapter(served, 'all')
    plain = Detector().eval()
    assert not torch.equal(served.lstm.weight_hh_l0, plain.lstm.weight_hh_l0)
    plain.load_state_dict(served.state_dict())
    assert torch.equal(served(X), plain(X))


def test_what_no_base_provides_is_in_the_adapter_and_the_base_keeps_its_own(tmp_path):
    everything = [key for key in Detector().state_dict() if 'num_batches' not in key]
    trained = Detector(seed=7).eval()
    inject(trained, dict(method=LORA, allow_random_base=True))
    save_adapter(train(trained), str(tmp_path / 'a'), BaseRecord(not_in_base=everything))
    model = Detector().eval()
    before = photograph(model)
    load_adapter(model, str(tmp_path / 'a'), 'whole')
    assert torch.equal(model(X), trained(X))
    set_adapter(model, None)
    assert_same(model, before)


def test_an_injection_that_fails_leaves_the_active_adapter(served):
    before = photograph(served)
    with pytest.raises(UserError, match="'nothing' matches no layer"):
        inject(served, dict(method=LORA, targets=['nothing']), name='new')
    with pytest.raises(UserError, match='is adapted already; call mmadapt.remove first, or give'):
        inject(served, dict(method=LORA), name='face')
    assert_same(served, before)
    assert (active_adapter(served), adapter_names(served)) == ('all', list(SMALL))


def test_in_training_mode_an_adapter_folds_its_norms_and_follows_its_norm_policy(folders, served):
    for name in SMALL:
        set_adapter(served, None)
        served.train()
        set_adapter(served, name)
        alone = copy.deepcopy(folders[name][1]).train()
        assert [m.training for m in served.modules()] == [m.training for m in alone.modules()]
        assert [type(m) for m in served.modules()] == [type(m) for m in alone.modules()]
        assert torch.equal(served(X), alone(X))
        assert torch.equal(served.backbone[1].running_mean, alone.backbone[1].running_mean)
    set_adapter(served, None)
    assert all(m.training for m in served.modules())
    served.eval()
    for name in SMALL:
        set_adapter(served, name)
        assert not any(m.training for m in served.modules())


def test_training_one_adapter_leaves_the_others_and_the_base_as_they_are(folders, served):
    alone = train(copy.deepcopy(folders['face'][1]))(X)
    set_adapter(served, 'face')
    own = dict(served.named_parameters())
    set_adapter(served, 'animals')
    set_adapter(served, 'face')
    assert all(parameter is own[name] for name, parameter in served.named_parameters())
    assert torch.equal(train(served)(X), alone)
    for name in ('animals', 'tools', 'all'):
        set_adapter(served, name)
        assert torch.equal(served(X), folders[name][1](X))
    set_adapter(served, None)
    assert torch.equal(served(X), Detector().eval()(X))
    set_adapter(served, 'face')
    assert torch.equal(served(X), alone)


def test_an_adapter_trained_in_python_is_switched_off_on_and_saved(tmp_path):
    model = Detector().eval()
    before = photograph(model)
    inject(model, dict(method=LORA, norm='stats'), name='face')
    wanted = train(model)(X)
    set_adapter(model, None)
    assert_same(model, before)
    inject(model, dict(method=dict(type='SSF')), name='other')
    other = train(model)(X)
    assert adapter_names(model) == ['face', 'other']
    set_adapter(model, 'face')
    assert torch.equal(model(X), wanted)
    save_adapter(model, str(tmp_path / 'face'))
    fresh = Detector().eval()
    load_adapter(fresh, str(tmp_path / 'face'))
    assert torch.equal(fresh(X), wanted)
    set_adapter(model, 'other')
    assert torch.equal(model(X), other)
    remove(model)
    assert_same(model, before)


@pytest.mark.parametrize('options', [dict(keep_base=False), dict(weights_follow=True)])
def test_without_the_base_values_an_adapter_cannot_be_switched_off(folders, options):
    model = Detector().eval()
    head = model.bbox_head[2].weight
    inject(model, dict(method=LORA), **options)
    assert model.bbox_head[2].weight is head
    wanted = train(model)(X)
    for call in (
        lambda: set_adapter(model, None),
        lambda: load_adapter(model, folders['face'][0], 'face'),
    ):
        with pytest.raises(
            UserError,
            match=r"base values of what adapter 'default' trains fully "
            r"\['backbone.3.bias'\] have not been kept",
        ):
            call()
        assert torch.equal(model(X), wanted)
    remove(model)
    assert model.bbox_head[2].weight is head
    frozen = Detector().eval()
    inject(frozen, dict(method=LORA, head='adapt', targets=['neck']), **options)
    train(frozen)
    set_adapter(frozen, None)
    assert torch.equal(frozen(X), Detector().eval()(X))


def test_the_active_adapter_is_the_one_that_is_merged_and_saved(folders, served, tmp_path):
    for name in SMALL:
        set_adapter(served, name)
        save_adapter(served, str(tmp_path / name))
        ours, wanted = (
            Path(folder) / 'adapter_model.safetensors'
            for folder in (tmp_path / name, folders[name][0])
        )
        assert ours.read_bytes() == wanted.read_bytes()
    set_adapter(served, 'face')
    wanted = merged_state_dict(folders['face'][1])
    before, output = photograph(served), served(X)
    merge(served)
    assert list(served.state_dict()) == list(Detector().state_dict())
    assert all(torch.equal(value, wanted[key]) for key, value in served.state_dict().items())
    for call in (lambda: set_adapter(served, 'animals'), lambda: set_adapter(served, None)):
        with pytest.raises(UserError, match="adapter 'face' is merged into this model; call "):
            call()
    with pytest.raises(UserError, match='an adapter is merged into this model; call mmadapt.unm'):
        load_adapter(served, folders['face'][0], 'second')
    unmerge(served)
    assert torch.equal(served(X), output)
    assert photograph(served)[1].keys() == before[1].keys()
    set_adapter(served, None)
    assert torch.equal(served(X), Detector().eval()(X))
    for call in (merge, lambda model: save_adapter(model, str(tmp_path / 'none'))):
        with pytest.raises(
            UserError,
            match='no adapter of this Detector is active; call '
            r"mmadapt.set_adapter\(model, 'face'\)",
        ):
            call(served)


def test_removing_a_merged_adapter_by_name_leaves_the_base_and_the_others(folders, served):
    set_adapter(served, 'face')
    merge(served)
    remove(served, 'tools')
    remove(served, 'face')
    assert adapter_names(served) == ['animals', 'all']
    assert active_adapter(served) is None
    assert torch.equal(served(X), Detector().eval()(X))
    set_adapter(served, 'animals')
    assert torch.equal(served(X), folders['animals'][1](X))
    remove(served, 'all')
    assert torch.equal(served(X), folders['animals'][1](X))
    remove(served, 'animals')
    assert get_state(served) is None
    assert '_mmadapt' not in vars(served)


def test_an_unknown_name_is_told_with_the_nearest(served):
    for call in (set_adapter, remove):
        with pytest.raises(
            UserError, match="this Detector has no adapter 'faces'; nearest: 'face', all: .*'tools'"
        ):
            call(served, 'faces')
    with pytest.raises(UserError, match="this Detector has no adapter 'face', nor any other"):
        set_adapter(Detector(), 'face')
    assert active_adapter(served) == 'all'
    set_adapter(Detector(), None)  # a base it is already


def test_a_layer_that_was_replaced_is_noticed_when_its_adapter_is_switched_off(served):
    set_adapter(served, 'face')
    served.neck = nn.Linear(4, 4)
    with pytest.raises(UserError, match='neck has lost its adapter'):
        set_adapter(served, None)
    assert active_adapter(served) == 'face'


def test_the_state_dict_of_the_base_has_stock_keys_and_that_of_an_adapter_its_own(folders, served):
    stock = Detector().state_dict()
    for name, (_, alone) in folders.items():
        set_adapter(served, name)
        state, wanted = served.state_dict(), alone.state_dict()
        assert list(state) == list(wanted)
        assert all(torch.equal(state[key], wanted[key]) for key in state)
    set_adapter(served, None)
    assert list(served.state_dict()) == list(stock)
    assert all(torch.equal(value, stock[key]) for key, value in served.state_dict().items())


@pytest.mark.parametrize('copied', [copy.deepcopy, 'pickle'])
def test_a_copy_has_adapters_of_its_own(build_detector, folders, tmp_path, copied):
    if copied == 'pickle':

        def copied(model):
            file = io.BytesIO()
            torch.save(model, file)
            file.seek(0)
            return torch.load(file, weights_only=False)

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1)).eval()
    base = copy.deepcopy(model)
    for name, r in (('one', 1), ('two', 2)):
        inject(
            model,
            dict(method=dict(type='LoRA', r=r), head=['2'], targets=['0'], norm='stats'),
            name=name,
        )
        train(model)
    outputs = {}
    for name in ('one', 'two'):
        set_adapter(model, name)
        outputs[name] = model(X)
    clone = copied(model)
    assert active_adapter(clone) == 'two'
    remove(model)
    assert torch.equal(model(X), base(X))
    for name in ('one', 'two'):
        set_adapter(clone, name)
        assert torch.equal(clone(X), outputs[name])
        assert set(map(id, clone.parameters())).isdisjoint(map(id, model.parameters()))
        train(clone)
    set_adapter(clone, None)
    assert torch.equal(clone(X), base(X))


def break_shape(config):
    config['mmadapt']['adapted'] = ['elsewhere']


def break_plan(config):
    config['mmadapt']['plan']['method']['r'] = 7


def break_base(config):
    config['mmadapt']['base']['fingerprint'] = '0' * 64


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (break_shape, 'adapts elsewhere, which this model does not have'),
        (break_plan, 'its config .classes, rank. is another one'),
        (break_base, 'was trained on other base weights than this model holds'),
    ],
)
@pytest.mark.parametrize('name', ['new', 'face'])
def test_a_folder_that_does_not_fit_changes_nothing(
    folders, served, tmp_path, damage, message, name
):
    model = Detector(1)
    inject(model, SMALL['face'][1], not_loaded=on_base(model, Detector()))
    save_adapter(model, str(tmp_path / 'a'))
    path = tmp_path / 'a' / 'adapter_config.json'
    config = json.loads(path.read_text())
    damage(config)
    path.write_text(json.dumps(config))
    set_adapter(served, 'animals')
    before = photograph(served)
    with pytest.raises(UserError, match=message if name == 'new' else ''):
        load_adapter(served, str(tmp_path / 'a'), name)
    assert_same(served, before)
    assert adapter_names(served) == list(SMALL)
    for each in SMALL:
        set_adapter(served, each)
        assert torch.equal(served(X), folders[each][1](X))


def test_a_name_that_is_there_gets_the_values_of_another_folder(folders, served, tmp_path):
    other = copy.deepcopy(folders['face'][1])
    save_adapter(train(other), str(tmp_path / 'newer'))
    set_adapter(served, 'face')
    parameters = list(served.parameters())
    set_adapter(served, 'animals')
    load_adapter(served, str(tmp_path / 'newer'), 'face')
    assert active_adapter(served) == 'face'
    assert all(a is b for a, b in zip(served.parameters(), parameters, strict=True))
    assert torch.equal(served(X), other(X))
    with pytest.raises(UserError, match='was trained with another `peft`'):
        load_adapter(served, folders['animals'][0], 'face')
    set_adapter(served, None)
    assert torch.equal(served(X), Detector().eval()(X))


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_adapters_that_were_off_follow_the_model_to_another_precision(folders, served, dtype):
    set_adapter(served, 'animals')
    served.neck.ssf_scale.grad = torch.ones(4)
    set_adapter(served, 'face')
    served.to(dtype)
    for name in ('animals', 'face', 'tools', 'all', 'animals'):
        set_adapter(served, name)
        alone = copy.deepcopy(folders[name][1]).to(dtype)
        wanted = alone.state_dict()
        for key, value in served.state_dict().items():
            assert value.dtype is wanted[key].dtype, key
            assert torch.equal(value, wanted[key]), key
        assert torch.equal(served(X.to(dtype)), alone(X.to(dtype)))
    assert served.neck.ssf_scale.grad.dtype is dtype
    set_adapter(served, None)
    assert torch.equal(served(X.to(dtype)), Detector().eval().to(dtype)(X.to(dtype)))


def test_an_adapter_in_another_precision_than_its_base_stays_so(folders):
    model = Detector().eval().bfloat16()
    inject(model, dict(method=LORA, head='adapt'), name='one')
    inject(model, dict(method=LORA), name='two')
    for name in ('one', 'two', 'one'):
        set_adapter(model, name)
        assert model.neck.weight.dtype is torch.bfloat16
        assert model.neck.lora_A.dtype is torch.float32


@needs_gpu
def test_adapters_that_were_off_follow_the_model_to_a_gpu(folders, served):
    served.cuda()
    for name in ('animals', 'face', 'tools', None):
        set_adapter(served, name)
        assert {t.device.type for t in served.state_dict().values()} == {'cuda'}
        alone = Detector().eval().cuda() if name is None else copy.deepcopy(folders[name][1]).cuda()
        assert torch.equal(served(X.cuda()), alone(X.cuda()))


def test_layers_that_share_a_weight_share_it_in_every_adapter_too():
    model = nn.ModuleDict(dict(a=nn.Linear(3, 3), b=nn.Linear(3, 3), c=nn.Linear(3, 3)))
    model['b'].weight = model['a'].weight
    base, flags = model['a'].weight, [p.requires_grad for p in model.parameters()]
    inject(model, dict(method=None, targets='all'), name='full')
    full = model['a'].weight
    assert full is model['b'].weight is not base
    inject(model, dict(method=None, head=['c']), name='part')
    assert model['a'].weight is base
    assert not base.requires_grad
    for name, weight in (
        ('full', full),
        (None, base),
        ('part', base),
        ('full', full),
        ('part', base),
        (None, base),
    ):
        set_adapter(model, name)
        assert model['a'].weight is model['b'].weight is weight
        trained = [p.requires_grad for p in model.parameters()]
        assert trained == ([False, False, False, True, True] if name == 'part' else flags)


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
        self.bbox_head = nn.Linear(64, 3)

    def forward(self, x):
        return self.bbox_head(self.backbone(x.flatten()[:128].view(2, 64)))


def test_quantized_adapters_share_one_quantized_base(tmp_path):
    pytest.importorskip('bitsandbytes', reason='bitsandbytes is not installed')
    quant, models = dict(bits=4, double_quant=True), {}
    for name, r in (('one', 1), ('two', 2)):
        models[name] = Text().eval()
        inject(models[name], dict(method=dict(type='LoRA', r=r), quant=quant))
        save_adapter(train(models[name]), str(tmp_path / name))
    dense = Text()
    inject(dense, dict(method=dict(type='LoRA', r=3)))
    save_adapter(dense, str(tmp_path / 'dense'))
    untrained = Text()
    inject(untrained, dict(method=dict(type='LoRA', r=1), quant=quant))

    model = Text().eval()
    for name in models:
        load_adapter(model, str(tmp_path / name), name)
    packed = model.backbone[0].weight
    assert packed.dtype is torch.uint8
    for name in ('one', 'two', None, 'one'):
        set_adapter(model, name)
        assert model.backbone[0].weight is packed
        assert torch.equal(model(X), (models[name] if name else untrained)(X))
    with pytest.raises(
        UserError,
        match="all adapters of a model share its base: 'one' is for "
        'peft.quant=.*, this one for None',
    ):
        load_adapter(model, str(tmp_path / 'dense'), 'three')
    assert torch.equal(model(X), models['one'](X))
    copied = copy.deepcopy(model)
    for each in (model, copied):
        remove(each, 'one')
        set_adapter(each, 'two')
        assert torch.equal(each(X), models['two'](X))
        remove(each)
        assert [type(m) for m in each.modules()] == [type(m) for m in Text().modules()]
        assert all(p.requires_grad and p.dtype is torch.float32 for p in each.parameters())
        assert torch.equal(each.bbox_head.weight, Text().bbox_head.weight)


def own_bytes():
    """The memory of all tensors that there are, each storage once."""
    gc.collect()
    # Those that torch.compile works with have no memory.
    storages = [
        t.untyped_storage()
        for t in gc.get_objects()
        if issubclass(type(t), torch.Tensor) and not isinstance(t, FakeTensor)
    ]
    return sum({s.data_ptr(): s.nbytes() for s in storages}.values())


def test_twenty_adapters_cost_their_own_tensors_and_a_switch_copies_none(build_detector, tmp_path):
    from safetensors.torch import load_file

    base = build_detector(RTMDET, 3).eval()
    model = build_detector(RTMDET, 1).eval()
    inject(model, dict(method=dict(type='LoRA', r=8)), not_loaded=on_base(model, base))
    save_adapter(disturb(model), str(tmp_path / 'a'))
    wanted = predict(model, torch.ones(1, 3, 64, 64))
    own = sum(
        t.numel() * t.element_size()
        for t in load_file(tmp_path / 'a' / 'adapter_model.safetensors').values()
    )
    del model
    before = own_bytes()
    for index in range(20):
        load_adapter(base, str(tmp_path / 'a'), f'customer {index}')
    assert own_bytes() - before == pytest.approx(20 * own, rel=1e-3)
    places = {}
    for index in (3, 4, 3):
        set_adapter(base, f'customer {index}')
        tensors = dict(base.named_parameters())
        place = {name: tensors[name].data_ptr() for name in tensors if 'lora' in name}
        assert places.setdefault(index, place) == place
    assert not set(places[3].values()) & set(places[4].values())
    assert_equal(predict(base.eval(), torch.ones(1, 3, 64, 64)), wanted)
