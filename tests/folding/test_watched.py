"""A hook on a convolution or its norm sees in training what it sees of the layers apart."""

import copy

import pytest
import torch

from mmadapt import inject
from mmadapt.folding import find_sites, unfold_norms

RTMDET = 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
RESNET = 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
X = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SEEN = {
    'forward': lambda layer, seen: layer.register_forward_hook(
        lambda module, args, output: seen.append(output.detach().clone())
    ),
    'forward pre': lambda layer, seen: layer.register_forward_pre_hook(
        lambda module, args: seen.append(args[0].detach().clone())
    ),
    'backward': lambda layer, seen: layer.register_full_backward_hook(
        lambda module, inputs, outputs: seen.append(outputs[0])
    ),
    'backward pre': lambda layer, seen: layer.register_full_backward_pre_hook(
        lambda module, outputs: seen.append(outputs[0])
    ),
}


def adapted(build_detector, name, method):
    torch.manual_seed(1)
    model = build_detector(name)
    inject(model, dict(method=dict(type=method)))
    return model.double().train()


def seen_by(model, layer, kind):
    """Return what a hook on a layer in the middle sees in a step, and the outputs."""
    seen = []
    site = find_sites(model)[20]
    for module in model.modules():
        if hasattr(module, 'inplace'):  # torch hooks no backward pass of what is written into
            module.inplace = False
    handle = SEEN[kind](getattr(site, layer), seen)
    maps = model.extract_feat(X.double())
    sum(t.square().mean() for t in maps).backward()
    handle.remove()
    return seen, maps


@pytest.mark.parametrize(('name', 'method'), [(RTMDET, 'SSF'), (RESNET, 'LoRA')])
@pytest.mark.parametrize(
    ('kind', 'layer'),
    [*((kind, 'conv') for kind in SEEN), ('forward', 'norm'), ('forward pre', 'norm')],
)
def test_a_hook_sees_the_maps_of_the_layers_apart(kind, layer, method, name, build_detector):
    model = adapted(build_detector, name, method)
    apart = copy.deepcopy(model)
    unfold_norms(apart)
    (found, maps), (wanted, stock_maps) = (seen_by(m, layer, kind) for m in (model, apart))
    assert len(wanted) == 1
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(maps, stock_maps, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize('name', [RTMDET, RESNET])
def test_a_hook_that_takes_itself_away_leaves_the_numbers_alone(name, build_detector):
    model = adapted(build_detector, name, 'LoRA')
    wanted = model.extract_feat(X.double())
    conv = find_sites(model)[3].conv
    handle = conv.register_forward_hook(lambda *_: handle.remove())
    for _ in range(2):
        torch.testing.assert_close(model.extract_feat(X.double()), wanted, rtol=1e-6, atol=1e-8)
    assert not conv._forward_hooks


def test_a_folded_norm_that_is_called_alone_computes(build_detector):
    model = adapted(build_detector, RESNET, 'LoRA')
    norm = model.backbone.bn1
    x = torch.randn(1, 64, 4, 4, dtype=torch.float64)
    assert norm.is_folded is False
    assert not torch.equal(norm(x), x)
