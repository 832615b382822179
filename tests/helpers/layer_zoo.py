"""One layer of every kind that can be adapted, and its input."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from mmcv.cnn.bricks import wrappers
from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding
from mmcv.cnn.bricks.conv_ws import ConvAWS2d, ConvWS2d
from mmengine.model.utils import _BatchNormXd
from mmengine.utils.dl_utils.parrots_wrapper import SyncBatchNorm
from torch import Tensor, nn

from mmadapt.adapters import adapted_class

R, ALPHA = 4, 6


@dataclass
class Kind:
    """A kind of layer.

    Attributes:
        build (Callable): Makes a stock layer with random weights.
        inputs (Callable): Makes the positional arguments of its forward.
        keywords (dict): The others.
        options (dict): Arguments of the method.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[], tuple]
    keywords: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)

    def make(self, seed: int = 3) -> tuple[nn.Module, tuple]:
        """Return a stock layer and the positional arguments of its forward."""
        torch.manual_seed(seed)
        layer = self.build()
        with torch.no_grad():
            for name, tensor in layer.state_dict().items():
                if name.endswith(('bias', 'running_mean')):
                    tensor.normal_(std=0.5)
                elif name.endswith(('running_var', 'gain', 'weight_gamma')):
                    tensor.uniform_(0.5, 2)
        return layer.requires_grad_(False), self.inputs()


def call(layer: nn.Module, args: tuple, kind: Kind) -> Tensor:
    """Return the output of a layer; of an attention, with the attention weights behind it."""
    output = layer(*args, **kind.keywords)
    if isinstance(output, tuple):
        return torch.cat([t.flatten() for t in output if t is not None])
    return output


def random(*shape: int) -> Callable[[], tuple]:
    """Return what makes one random input."""
    return lambda: (torch.randn(shape),)


def _convs() -> dict[str, Kind]:
    map_1d, map_2d, map_3d = random(2, 8, 15), random(2, 8, 9, 10), random(2, 4, 6, 7, 5)

    def conv(kernel=3, out=12, **options):
        return Kind(lambda: nn.Conv2d(8, out, kernel, **options), map_2d)

    kinds = {
        'plain': conv(),
        'no bias': conv(bias=False),
        '1x1': conv(1),
        'valid': conv(padding='valid'),
        'unbatched': Kind(lambda: nn.Conv2d(8, 12, 3), random(8, 9, 10)),
        'strided': conv(stride=(1, 2), padding=(2, 0)),
        'dilated': conv(dilation=(2, 1), padding=1),
        'rectangular': conv((1, 5), padding=(0, 2)),
        'same': conv(padding='same'),
        'same, even': conv(4, padding='same'),
        'same, dilated': conv(padding='same', dilation=2),
        'same, dilated, circular': conv(padding='same', dilation=2, padding_mode='circular'),
        'grouped': conv(groups=2, padding=1),
        'grouped, dilated': conv((3, 1), groups=4, dilation=(2, 1)),
        'depthwise': conv(out=8, groups=8, bias=False),
        'depthwise, wider': conv(out=16, groups=8),
        'reflect': conv(padding=1, padding_mode='reflect'),
        'reflect, grouped': conv(padding=1, padding_mode='reflect', groups=4),
        'circular, even': conv((4, 3), padding='same', padding_mode='circular'),
        'replicate, strided': conv(padding=2, padding_mode='replicate', stride=2),
        '1d': Kind(lambda: nn.Conv1d(8, 6, 3, padding=1), map_1d),
        '1d, depthwise': Kind(
            lambda: nn.Conv1d(8, 8, 5, groups=8, padding_mode='circular', padding='same'), map_1d
        ),
        '3d': Kind(lambda: nn.Conv3d(4, 6, (3, 1, 2), stride=(1, 2, 1)), map_3d),
        '3d, grouped': Kind(
            lambda: nn.Conv3d(4, 6, 3, groups=2, padding='same', dilation=2), map_3d
        ),
    }
    return {f'conv {name}': kind for name, kind in kinds.items()}


def _transposed() -> dict[str, Kind]:
    map_2d = random(2, 8, 5, 6)
    sized = dict(output_size=[11, 13])
    kinds = {
        '1d': Kind(lambda: nn.ConvTranspose1d(8, 6, 3, stride=2), random(2, 8, 7)),
        'plain': Kind(lambda: nn.ConvTranspose2d(8, 6, 3), map_2d),
        'grouped': Kind(lambda: nn.ConvTranspose2d(8, 12, (3, 2), groups=4, bias=False), map_2d),
        'depthwise': Kind(lambda: nn.ConvTranspose2d(8, 16, 3, groups=8, padding=1), map_2d),
        'output padding': Kind(
            lambda: nn.ConvTranspose2d(
                8, 6, 3, stride=2, padding=1, output_padding=1, dilation=2, groups=2
            ),
            map_2d,
        ),
        'output size': Kind(
            lambda: nn.ConvTranspose2d(8, 6, 3, stride=2),
            map_2d,
            keywords=dict(output_size=[12, 14]),
        ),
        'output size, grouped': Kind(
            lambda: nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2), map_2d, keywords=sized
        ),
        '3d': Kind(lambda: nn.ConvTranspose3d(4, 6, 2, stride=2), random(2, 4, 3, 4, 2)),
        '3d, grouped': Kind(
            lambda: nn.ConvTranspose3d(4, 6, 3, groups=2, dilation=(1, 2, 1)), random(2, 4, 3, 4, 2)
        ),
    }
    return {f'transposed {name}': kind for name, kind in kinds.items()}


def _mmcv() -> dict[str, Kind]:
    map_2d, map_3d = random(2, 8, 7, 8), random(2, 4, 4, 5, 4)
    kinds = {
        'mmcv linear': Kind(lambda: wrappers.Linear(8, 6), random(2, 5, 8)),
        'mmcv conv': Kind(lambda: wrappers.Conv2d(8, 6, 3, groups=2), map_2d),
        'mmcv 3d': Kind(lambda: wrappers.Conv3d(4, 6, 2), map_3d),
        'mmcv transposed': Kind(lambda: wrappers.ConvTranspose2d(8, 6, 3, stride=2), map_2d),
        'mmcv transposed 3d': Kind(lambda: wrappers.ConvTranspose3d(4, 6, 2, stride=2), map_3d),
        'adaptive padding': Kind(lambda: Conv2dAdaptivePadding(8, 6, (4, 3), stride=3), map_2d),
        'WS': Kind(lambda: ConvWS2d(8, 6, 3, padding=1), map_2d),
        'WS, grouped': Kind(lambda: ConvWS2d(8, 6, 3, groups=2, bias=False, stride=2), map_2d),
        'AWS': Kind(lambda: ConvAWS2d(8, 6, 3, dilation=2), map_2d),
    }
    if importlib.util.find_spec('mmcv._ext') is not None:
        kinds.update(_deformable())
    return kinds


def _deformable() -> dict[str, Kind]:
    from mmcv import ops

    def pack(cls, **options):
        def build():
            layer = cls(4, 6, 3, padding=1, groups=2, **options)
            nn.init.normal_(layer.conv_offset.weight, std=0.1)
            return layer

        return Kind(build, random(1, 4, 6, 7))

    def inputs(*channels):
        return lambda: (torch.randn(1, 4, 6, 7), *(torch.rand(1, c, 6, 7) for c in channels))

    return {
        'DCN': Kind(lambda: ops.DeformConv2d(4, 6, 3, padding=1), inputs(18)),
        'DCN, grouped': Kind(
            lambda: ops.DeformConv2d(4, 6, 3, padding=1, groups=2, deform_groups=2), inputs(36)
        ),
        'DCNv2': Kind(lambda: ops.ModulatedDeformConv2d(4, 6, 3, padding=1), inputs(18, 9)),
        'DCN pack': pack(ops.DeformConv2dPack),
        'DCNv2 pack': pack(ops.ModulatedDeformConv2dPack, bias=False),
    }


def _timm(name: str, **options) -> Kind:
    def build():
        layers = pytest.importorskip('timm.layers', reason='timm is not installed')
        return getattr(layers, name)(8, 6, 3, stride=2, groups=2, **options)

    return Kind(build, random(2, 8, 7, 8))


def _timm_norm() -> Kind:
    def build():
        layers = pytest.importorskip('timm.layers', reason='timm is not installed')
        adapted_class(nn.Identity())  # it is by this that what is for timm is read
        return layers.BatchNormAct2d(6, act_layer=nn.SiLU)

    return Kind(build, random(2, 6, 6, 5))


def _attention() -> dict[str, Kind]:
    def one(batch, tokens, width=16):
        def inputs():
            x = torch.randn(batch, tokens, width)
            return x, x, x

        return inputs

    def three(*widths):
        return lambda: tuple(
            torch.randn(n, 2, width) for n, width in zip((5, 6, 6), widths, strict=True)
        )

    def attention(*args, **options):
        return lambda: nn.MultiheadAttention(16, 2, *args, **options)

    causal = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[1, 3:] = True
    masks = dict(attn_mask=causal, key_padding_mask=padding, average_attn_weights=False)
    first = attention(batch_first=True)
    kinds = {
        'packed': Kind(attention(), three(16, 16, 16)),
        'self': Kind(first, one(2, 5)),
        'masked': Kind(first, one(2, 5), masks),
        'causal, no weights': Kind(
            first, one(2, 5), dict(attn_mask=causal, is_causal=True, need_weights=False)
        ),
        'no bias': Kind(attention(bias=False), three(16, 16, 16)),
        'separate': Kind(attention(kdim=12, vdim=10), three(16, 12, 10)),
        'separate, no bias': Kind(attention(kdim=12, vdim=10, bias=False), three(16, 12, 10)),
        'bias of k and v': Kind(attention(add_bias_kv=True, add_zero_attn=True), three(16, 16, 16)),
        'q and v': Kind(first, one(2, 5), options=dict(attention=['q', 'v'])),
        'out': Kind(attention(kdim=12), three(16, 12, 16), options=dict(attention=['out'])),
    }
    return {f'attention {name}': kind for name, kind in kinds.items()}


WEIGHTS = {
    'linear': Kind(lambda: nn.Linear(8, 6), random(2, 5, 8)),
    'linear, no bias': Kind(lambda: nn.Linear(8, 6, bias=False), random(3, 8)),
    'embedding': Kind(lambda: nn.Embedding(7, 6), lambda: (torch.tensor([[0, 3, 3], [5, 6, 1]]),)),
    'embedding, padding': Kind(
        lambda: nn.Embedding(7, 6, padding_idx=-4), lambda: (torch.tensor([[0, 3, 3], [5, 6, 1]]),)
    ),
    'embedding, frequency': Kind(
        lambda: nn.Embedding(7, 6, scale_grad_by_freq=True), lambda: (torch.tensor([0, 3, 3, 5]),)
    ),
    **_convs(),
    **_transposed(),
    **_mmcv(),
    **_attention(),
    'StdConv': _timm('StdConv2d', bias=True),
    'StdConvSame': _timm('StdConv2dSame'),
    'ScaledStdConv': _timm('ScaledStdConv2d'),
    'ScaledStdConvSame': _timm('ScaledStdConv2dSame'),
}
NORMS = {
    'BatchNorm1d': Kind(lambda: nn.BatchNorm1d(6), random(5, 6)),
    'BatchNorm2d': Kind(lambda: nn.BatchNorm2d(6), random(2, 6, 6, 5)),
    'BatchNorm2d, average': Kind(lambda: nn.BatchNorm2d(6, momentum=None), random(2, 6, 6, 5)),
    'BatchNorm3d': Kind(lambda: nn.BatchNorm3d(6), random(2, 6, 3, 3, 2)),
    'BatchNormXd': Kind(lambda: _BatchNormXd(6), random(2, 6, 3, 3)),
    'BatchNorm, synchronized': Kind(lambda: nn.SyncBatchNorm(6), random(2, 6, 3, 3)),
    'BatchNorm, MMEngine': Kind(lambda: SyncBatchNorm(6), random(2, 6, 3, 3)),
    'BatchNorm and activation': _timm_norm(),
    'LayerNorm': Kind(lambda: nn.LayerNorm(6), random(2, 5, 6)),
    'LayerNorm, no bias': Kind(lambda: nn.LayerNorm(6, bias=False), random(2, 5, 6)),
    'RMSNorm': Kind(lambda: nn.RMSNorm(6), random(2, 5, 6)),
    'GroupNorm': Kind(lambda: nn.GroupNorm(3, 6), random(2, 6, 4, 5)),
}
KINDS = {**WEIGHTS, **NORMS}
STANDARDIZED = {name for name in KINDS if 'WS' in name or 'StdConv' in name}
"""Kinds whose weight is divided by the spread of its rows, which undoes any scale of them."""
