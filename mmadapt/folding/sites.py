"""Where in a model a norm follows a convolution directly.

Only where the structure says so: mmcv's ``ConvModule``, neighbors in a ``Sequential``, and the
blocks of OpenMMLab's residual networks, whose ``conv1`` and ``norm1_name`` belong together. The
pair belongs to the place of the call: one convolution may stand before several norms.
"""

import sys
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ..norms import NORM_LAYERS


@dataclass
class Site:
    """A convolution and the norm that its output goes into.

    Attributes:
        conv (nn.Module): The convolution, of any kind.
        norm (nn.Module): The norm.
        owner (nn.Module, optional): The ``ConvModule`` that calls both.
    """

    conv: nn.Module
    norm: nn.Module
    owner: nn.Module | None = None


def find_sites(model: nn.Module) -> list[Site]:
    """Return all places of a model where a norm follows a convolution directly."""
    sites = []
    conv_module = getattr(sys.modules.get('mmcv.cnn'), 'ConvModule', ())
    for module in model.modules():
        if conv_module and isinstance(module, conv_module):
            sites += _in_conv_module(module)
        elif isinstance(module, nn.Sequential):
            children = list(module)
            sites += [
                Site(conv, norm)
                for conv, norm in zip(children, children[1:], strict=False)
                if _is_conv(conv) and isinstance(norm, NORM_LAYERS)
            ]
        else:
            sites += _in_block(module)
    return sites


def _in_conv_module(module: Any) -> list[Site]:
    order = module.order
    follows = order.index('norm') == order.index('conv') + 1 if 'norm' in order else False
    if not follows or not module.with_norm or module.with_spectral_norm:
        return []
    return [Site(module.conv, module.norm, module)] if isinstance(module.norm, NORM_LAYERS) else []


def _in_block(module: nn.Module) -> list[Site]:
    sites = []
    for name, conv in module.named_children():
        norm_name = getattr(module, name.replace('conv', 'norm') + '_name', None)
        if name.startswith('conv') and isinstance(norm_name, str) and _is_conv(conv):
            norm = getattr(module, norm_name, None)
            sites += [Site(conv, norm)] if isinstance(norm, NORM_LAYERS) else []
    return sites


def _is_conv(module: nn.Module) -> bool:
    # Deformable ones are no subclass of torch's, but have everything that one has.
    return isinstance(module, _ConvNd) or hasattr(module, 'deform_groups')
