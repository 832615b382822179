"""``num_cp`` of MMDetection's transformers, without fairscale and with it."""

import functools
import importlib.util
import subprocess
import sys
import weakref

import pytest
import torch
from torch import nn

pytest.importorskip('mmdet', reason='MMDetection is not installed')

from mmadapt.compat.fairscale import MODULES, checkpoint_wrapper  # noqa: E402
from mmadapt.memory import MemoryConfig, apply_memory  # noqa: E402
from mmadapt.memory.checkpointing import is_recomputed  # noqa: E402

HAS_FAIRSCALE = importlib.util.find_spec('fairscale') is not None
_LAYER = (
    'dict(self_attn_cfg=dict(embed_dims=16, num_heads=2), ffn_cfg=dict(embed_dims=16, '
    'feedforward_channels=16, ffn_drop=0.))'
)
_BUILD = (
    'from mmdet.models.layers.transformer.detr_layers import DetrTransformerEncoder as E; '
    f'encoder = E(num_layers=3, num_cp=2, layer_cfg={_LAYER}); '
)
_SHOW = (
    "print([type(vars(layer).get('forward')).__module__ for layer in encoder.layers]); "
    'from mmdet.models.layers.transformer import grounding_dino_layers as g; '
    'print(g.checkpoint_wrapper.__module__)'
)


def python(code, *path):
    done = subprocess.run(
        [
            sys.executable,
            '-W',
            'ignore',
            '-c',
            f'import sys; sys.path[:0] = {[*map(str, path)]!r}; ' + code,
        ],
        capture_output=True,
        text=True,
    )
    return done.stdout, done.stderr


@pytest.mark.skipif(HAS_FAIRSCALE, reason='fairscale is installed')
@pytest.mark.parametrize(
    'order',
    [
        'import mmadapt; assert not any(m.startswith("mmdet") for m in sys.modules); ',
        'import mmdet.models, mmadapt; ',
    ],
)
def test_encoders_with_num_cp_are_built_in_whatever_order_things_are_imported(order):
    out, err = python(order + _BUILD + _SHOW)
    assert out.splitlines()[-2:] == [  # packages beside may print before
        "['mmadapt.memory.checkpointing', 'mmadapt.memory.checkpointing', 'builtins']",
        'mmadapt.compat.fairscale',
    ], err


@pytest.mark.skipif(HAS_FAIRSCALE, reason='fairscale is installed')
def test_without_this_package_mmdetection_refuses_num_cp():
    assert 'please install fairscale' in python(_BUILD)[1]


FAKE = """
def checkpoint_wrapper(module):
    module.wrapped = True
    return module
"""


def test_with_fairscale_nothing_is_changed(tmp_path):
    package = tmp_path / 'fairscale' / 'nn'
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / '__init__.py').touch()
    (package / 'checkpoint.py').write_text(FAKE)
    wrapped = "print([hasattr(m, 'wrapped') for m in encoder.layers]); "
    out, err = python('import mmadapt; ' + _BUILD + wrapped + _SHOW, tmp_path)
    assert out.splitlines()[-3] == '[True, True, False]', err
    assert out.splitlines()[-1] == 'fairscale.nn.checkpoint'


def test_the_modules_are_those_that_import_it():
    names = set()
    for name in (
        'detr',
        'deformable_detr',
        'grounding_dino',
        'dino',
        'conditional_detr',
        'dab_detr',
        'ddq_detr',
        'mask2former',
    ):
        module = importlib.import_module(f'mmdet.models.layers.transformer.{name}_layers')
        if hasattr(module, 'checkpoint_wrapper'):
            names.add(module.__name__)
    assert names == set(MODULES)


def build_layer():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))


def _checkpointed_forward(original_forward, weak_self, offload_to_cpu, *args):
    raise AssertionError('fairscale would be called')


def _count(module, inputs):
    raise AssertionError("fairscale's hook would be called")


def like_fairscale(layer):
    """Do to a layer what fairscale's checkpoint_wrapper does."""
    for function in (_checkpointed_forward, _count):
        function.__module__ = 'fairscale.nn.checkpoint.checkpoint_activations'
    layer[1].register_forward_pre_hook(_count)
    layer.forward = functools.partial(
        _checkpointed_forward, type(layer).forward, weakref.ref(layer), False
    )
    return layer


def by_fairscale(layer):
    from fairscale.nn.checkpoint import checkpoint_wrapper as real

    return real(layer)


@pytest.mark.parametrize(
    'wrap',
    [
        like_fairscale,
        checkpoint_wrapper,
        pytest.param(
            by_fairscale, marks=pytest.mark.skipif(not HAS_FAIRSCALE, reason='needs fairscale')
        ),
    ],
)
def test_what_it_wrapped_is_unwrapped_and_recomputed_by_ours(wrap):
    results = []
    for wrapped in (False, True):
        model = nn.Sequential(build_layer(), nn.Conv2d(4, 1, 1)).train()
        if wrapped:
            model[0] = wrap(model[0])
            model[0][0].register_forward_hook(lambda *_: None)  # the user's own stays
            lines = apply_memory(model, MemoryConfig())
            assert lines == [
                'memory: recomputed in the backward pass: 1 Sequential',
                'memory: num_cp is taken over, for 1 Sequential',
            ]
            assert is_recomputed(model[0])
            assert [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model[0]] == [
                1,
                0,
                0,
                0,
            ]
        torch.manual_seed(1)
        loss = model(torch.randn(2, 3, 8, 8)).square().sum()
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in model.parameters()), *model.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
