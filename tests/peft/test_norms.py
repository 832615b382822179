"""Norm layers: what moves under which policy, also after every `model.train()`."""

import copy

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.model.utils import _BatchNormXd
from mmengine.utils.dl_utils.parrots_wrapper import SyncBatchNorm
from torch import nn

from mmadapt import UserError, inject, remove
from mmadapt.norms import freeze_statistics, has_statistics, is_norm, statistics_move

LORA = dict(type='LoRA', r=2)
INPUTS = {
    nn.BatchNorm1d: (4, 3),
    nn.BatchNorm2d: (4, 3, 5, 5),
    nn.BatchNorm3d: (4, 3, 2, 2, 2),
    _BatchNormXd: (4, 3, 5, 5),
    nn.SyncBatchNorm: (4, 3, 5, 5),
    SyncBatchNorm: (4, 3, 5, 5),
}
POLICIES = {
    'freeze': (False, False),
    'affine': (True, False),
    'stats': (False, True),
    'train': (True, True),
}


class Detector(nn.Module):
    def __init__(self, norm=nn.BatchNorm2d, **options):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), norm(4, **options))
        self.bbox_head = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))

    def forward(self, x):
        return self.bbox_head(self.backbone(x))


def statistics(norm):
    return {name: tensor.clone() for name, tensor in norm.named_buffers()}


@pytest.mark.parametrize('kind', INPUTS)
def test_frozen_statistics_stay_through_every_train_call(kind):
    torch.manual_seed(0)
    norm = kind(3)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    x = torch.randn(INPUTS[kind])
    wanted, before = copy.deepcopy(norm).eval()(x), statistics(norm)
    model = nn.Sequential(norm)
    freeze_statistics(norm, 'norm')
    for _ in range(2):
        model.train()
        assert not norm.training
        assert torch.equal(model(x), wanted)
    model.eval()
    model.train(True)
    assert torch.equal(model(x), wanted)
    assert all(torch.equal(before[k], v) for k, v in statistics(norm).items())
    assert is_norm(norm)
    assert has_statistics(norm)
    assert not statistics_move(norm)


@pytest.mark.parametrize('kind', INPUTS)
def test_a_frozen_norm_copies_pickles_and_keeps_its_keys(kind, tmp_path):
    norm = kind(3)
    keys = set(norm.state_dict())
    freeze_statistics(norm, 'norm')
    torch.save(norm, tmp_path / 'norm.pt')
    for clone in (copy.deepcopy(norm), torch.load(tmp_path / 'norm.pt', weights_only=False)):
        assert set(clone.state_dict()) == keys
        assert not clone.train().training


@pytest.mark.parametrize('policy', POLICIES)
def test_each_policy_moves_what_it_says_and_nothing_else(policy):
    affine, moves = POLICIES[policy]
    torch.manual_seed(0)
    model = Detector()
    norm = model.backbone[1]
    inject(model, dict(method=LORA, norm=policy))
    model.train()
    assert norm.training is moves
    weight, before = norm.weight.detach().clone(), statistics(norm)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model.train()(torch.randn(2, 3, 8, 8)).square().sum().backward()
        optimizer.step()
    assert torch.equal(norm.weight, weight) is not affine
    assert torch.equal(norm.running_mean, before['running_mean']) is not moves
    assert torch.equal(norm.num_batches_tracked, before['num_batches_tracked']) is not moves


@pytest.mark.parametrize(
    ('head', 'norm', 'affine', 'moves'),
    [
        ('train', 'freeze', True, True),
        ('freeze', 'train', False, False),
        ('adapt', 'freeze', False, False),
        ('adapt', 'stats', False, True),
    ],
)
def test_norms_of_the_head_follow_the_head_policy(head, norm, affine, moves):
    model = Detector()
    inject(model, dict(method=LORA, head=head, norm=norm))
    model.train()
    assert model.bbox_head[1].weight.requires_grad is affine
    assert model.bbox_head[1].training is moves


@pytest.mark.parametrize(('policy', 'moves'), [('freeze', False), ('stats', True)])
def test_a_norm_without_affine_parameters_obeys_too(policy, moves):
    model = Detector(affine=False)
    inject(model, dict(method=LORA, norm=policy))
    before = statistics(model.backbone[1])
    model.train()(torch.randn(2, 3, 8, 8))
    assert torch.equal(model.backbone[1].running_mean, before['running_mean']) is not moves


@pytest.mark.parametrize('targets', [['backbone'], 'all'])
def test_naming_a_container_does_not_overrule_the_norm_policy(targets):
    model = Detector()
    inject(model, dict(method=None, targets=targets, norm='freeze'))
    assert model.backbone[0].weight.requires_grad
    assert not model.backbone[1].weight.requires_grad
    assert not model.train().backbone[1].training


def test_training_a_norm_by_name_alone_is_refused():
    with pytest.raises(UserError, match="'backbone.1' means only norm layers, which peft.norm"):
        inject(Detector(), dict(method=None, targets=['backbone.1']))


def test_norms_without_statistics_are_left_as_they_are():
    for norm in (
        nn.GroupNorm(2, 4),
        nn.LayerNorm(4),
        nn.InstanceNorm2d(4),
        nn.BatchNorm2d(4, track_running_stats=False),
    ):
        kind = type(norm)
        freeze_statistics(norm, 'norm')
        assert type(norm) is kind
        assert norm.train().training


def test_a_norm_class_that_cannot_be_frozen_is_named_with_its_place():
    class Odd(nn.BatchNorm2d):
        pass

    with pytest.raises(
        UserError,
        match='backbone.1: the statistics of a Odd cannot be frozen; '
        "write peft.norm='stats' or 'train'",
    ):
        inject(Detector(Odd), dict(method=LORA))
    inject(Detector(Odd), dict(method=LORA, norm='stats'))


def test_removing_gives_the_stock_class_and_mode_back():
    for kind in (nn.BatchNorm2d, nn.SyncBatchNorm, SyncBatchNorm):
        model = Detector(kind)
        inject(model, dict(method=LORA))
        remove(model)
        assert type(model.backbone[1]) is kind
        assert model.backbone[1].training


def test_reverting_sync_batchnorm_does_not_unfreeze():
    model = Detector(nn.SyncBatchNorm)
    inject(model, dict(method=LORA))
    model = revert_sync_batchnorm(model).train()
    before = statistics(model.backbone[1])
    model(torch.randn(2, 3, 8, 8))
    assert torch.equal(model.backbone[1].running_mean, before['running_mean'])


def test_a_backbone_that_keeps_its_norms_in_eval_mode_does_so_again_after_removing(build_detector):
    model = build_detector('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py').train()
    inject(model, dict(method=LORA))
    remove(model)
    assert not model.backbone.layer4[0].bn1.training


def test_the_synchronized_norm_of_mmcv_is_refused():
    norm = type('SyncBatchNorm', (nn.Module,), dict(__module__='mmcv.ops.sync_bn'))()
    with pytest.raises(UserError, match="1 is mmcv's SyncBatchNorm, .* write sync_bn='torch'"):
        inject(
            nn.Sequential(nn.Conv2d(3, 4, 3), norm),
            dict(method=dict(type='LoRA', r=2), head='adapt'),
        )


@pytest.mark.parametrize('method', ['LoRA', 'SSF'])
def test_a_norm_of_timm_keeps_the_activation_and_the_drop_that_it_holds(method):
    layers = pytest.importorskip('timm.layers', reason='timm is not installed')
    model = Detector(layers.BatchNormAct2d, drop_layer=nn.Dropout)
    norm = model.backbone[1]
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.bias.normal_()
    x = torch.randn(2, 3, 8, 8)
    stock = copy.deepcopy(model.backbone).eval()
    inject(model, dict(method=dict(type=method), head='freeze'))
    model.train()
    assert not norm.training
    assert norm.drop.training, 'what drops in training does so'
    norm.drop.eval()
    torch.testing.assert_close(model.backbone(x), stock(x))
    assert (model.backbone(x) >= 0).all()
    remove(model)
    assert type(norm) is layers.BatchNormAct2d
