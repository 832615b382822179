"""Operations on adapted models that would drop an adapter without a word."""

import copy

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval
from torch import nn
from torch.fx.proxy import TraceError

from mmadapt import UserError, inject, merge, remove, unmerge

LORA = dict(type='LoRA', r=2)


class Block(nn.Module):
    """A block that rebuilds itself for deployment, as RepVGG's does."""

    def __init__(self):
        super().__init__()
        self.branch = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.branch(x)

    def switch_to_deploy(self):
        kept = self.branch
        self.branch = nn.Conv2d(3, 4, 3, padding=1)
        self.branch.load_state_dict({k: kept.state_dict()[k] for k in ('weight', 'bias')})


@pytest.fixture
def block():
    torch.manual_seed(0)
    model = nn.Sequential(Block(), nn.ReLU())
    inject(model, dict(method=LORA, head='adapt'))
    with torch.no_grad():
        model[0].branch.lora_B.normal_()
    return model.eval()


def test_switch_to_deploy_is_refused_until_the_adapter_is_merged(block):
    x = torch.randn(1, 3, 5, 5)
    wanted = block(x)
    for model in (block, copy.deepcopy(block)):
        with pytest.raises(UserError, match='Block.switch_to_deploy builds new layers .*merge'):
            model[0].switch_to_deploy()
    merge(block)
    unmerge(block)
    with pytest.raises(UserError):
        block[0].switch_to_deploy()
    merge(block)
    block[0].switch_to_deploy()
    torch.testing.assert_close(block(x), wanted)


def test_switch_to_deploy_is_free_again_after_removal(block):
    remove(block)
    block[0].switch_to_deploy()


def test_a_layer_that_was_rebuilt_is_noticed(block):
    block[0].branch = nn.Conv2d(3, 4, 3)
    with pytest.raises(UserError, match='0.branch has lost its adapter: .* put a Conv2d'):
        merge(block)


def test_reverting_syncbn_under_an_adapted_norm_is_noticed():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4))
    inject(model, dict(method=dict(type='SSF'), norm='train', head='adapt'))
    model = revert_sync_batchnorm(model)
    with pytest.raises(UserError, match='1 has lost its adapter'):
        merge(model)


def test_reverting_syncbn_beside_an_adapted_layer_keeps_the_adapter():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4))
    inject(model, dict(method=LORA, norm='train', head='adapt'))
    merge(revert_sync_batchnorm(model))


@pytest.mark.parametrize('bias', [True, False])
def test_fusing_with_batchnorm_by_torch_is_refused(bias):
    fusion = nn.utils.fusion.fuse_conv_bn_eval
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=bias), nn.BatchNorm2d(4)).eval()
    model.requires_grad_(False)
    inject(model.requires_grad_(True), dict(method=LORA, head='adapt'))
    if bias:
        model[0].weight.requires_grad_(False)
    with pytest.raises(UserError, match='is being replaced by another'):
        fusion(model[0], model[1])


def test_efficient_conv_bn_eval_of_an_adapted_layer_is_refused_when_it_runs(build_detector):
    cnn = pytest.importorskip('mmcv.cnn')
    model = build_detector()
    inject(model, dict(method=LORA))
    for module in model.modules():
        if isinstance(module, cnn.ConvModule):
            module.turn_on_efficient_conv_bn_eval()
    with pytest.raises(UserError, match='forward of an adapted Conv2d is being replaced'):
        model.eval().extract_feat(torch.randn(1, 3, 64, 64))


def test_mmengines_efficient_conv_bn_eval_of_an_adapted_model_fails_loudly(build_detector):
    model = build_detector('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py').eval()
    inject(model, dict(method=LORA))
    with pytest.raises(TraceError):
        turn_on_efficient_conv_bn_eval(model, 'backbone')
