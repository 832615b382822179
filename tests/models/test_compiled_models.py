"""Adapted parts of stock detectors compiled, and recomputed in the backward pass."""

from unittest import mock

import pytest
import torch
from adapting import METHODS, adapt, adapter_tensors, perturb
from model_zoo import DETECTORS, Detector
from torch.utils.checkpoint import checkpoint


def backward(model, forward, seed=0):
    """Return the outputs of a part of a model and the gradients of its adapters."""
    torch.manual_seed(seed)
    maps = forward()
    maps = [maps] if isinstance(maps, torch.Tensor) else maps
    generator = torch.Generator().manual_seed(3)
    sum((t * torch.randn(t.shape, generator=generator).to(t)).sum() for t in maps).backward()
    gradients = {n: t.grad for n, t in adapter_tensors(model).items() if t.grad is not None}
    model.zero_grad()
    return maps, gradients


def assert_same(found, wanted):
    assert found[1].keys() == wanted[1].keys()
    assert len(wanted[1]) > 3
    for a, b in zip(found[0], wanted[0], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    for name, gradient in wanted[1].items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(
            found[1][name], gradient, rtol=0, atol=1e-6 * gradient.abs().max().item()
        )


@pytest.mark.parametrize('method', ['LoRA', 'SSF'])
def test_a_compiled_backbone_and_neck_compute_the_same_without_a_graph_break(method):
    torch.compiler.reset()
    model = adapt(DETECTORS['RTMDet'].build(), method, head='freeze').double().train()
    perturb(model)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    compiled = torch.compile(model.extract_feat, backend='eager', fullgraph=True)
    found = backward(model, lambda: compiled(images))
    assert found[1].keys() == adapter_tensors(model).keys()
    assert_same(found, backward(model, lambda: model.extract_feat(images)))


@pytest.mark.parametrize('method', METHODS)
def test_a_compiled_encoder_layer_computes_the_same_without_a_graph_break(method):
    torch.compiler.reset()
    model = adapt(DETECTORS['DETR'].build(), method).double()
    perturb(model)
    layer = model.encoder.layers[0]
    compiled = torch.compile(layer, backend='aot_eager', fullgraph=True)
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[1, 6:] = True
    inputs = dict(
        query=torch.randn(2, 9, 256, dtype=torch.float64),
        key_padding_mask=padding,
        query_pos=torch.randn(2, 9, 256, dtype=torch.float64),
    )
    for mode in (True, False):
        model.train(mode)
        assert_same(
            backward(model, lambda: compiled(**inputs)), backward(model, lambda: layer(**inputs))
        )
    with torch.no_grad():
        torch.testing.assert_close(compiled(**inputs), layer(**inputs), rtol=0, atol=1e-9)


@pytest.mark.parametrize('name', ['Faster R-CNN', 'Mask R-CNN, Swin'])
def test_a_backbone_that_recomputes_its_activations_has_the_same_gradients(name):
    stock = DETECTORS[name]
    backbone = dict(stock.changes['backbone'], with_cp=True)
    recomputing = Detector(stock.config, dict(stock.changes, backbone=backbone))
    images, results = torch.randn(1, 3, 64, 64, dtype=torch.float64), []
    with mock.patch('torch.utils.checkpoint.checkpoint', wraps=checkpoint) as recompute:
        for detector in (recomputing, stock):
            model = adapt(detector.build(), 'LoRA').double().train()
            perturb(model)
            results.append(backward(model, lambda model=model: model.extract_feat(images)))
    assert recompute.called
    assert_same(*results)
