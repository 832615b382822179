"""Switching the folding of frozen norms on and off for a whole model."""

import sys
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..adapters.affine import Affine, move_affine
from ..adapters.as_one import as_one
from ..adapters.layers.norm import NormLayer
from ..adapters.layers.weight import WeightLayer
from .affine import affine_of, is_affine
from .sites import Site, find_sites
from .watched import is_watched


@dataclass
class NormBehind:
    """The norm that a convolution computes too.

    Attributes:
        norm (_BatchNorm): A BatchNorm of frozen statistics.
        is_applied (bool): Whether the last call of the convolution has computed it, and the norm
            has nothing left to do.
    """

    norm: _BatchNorm
    is_applied: bool = False

    def __call__(self, conv: nn.Module) -> Affine | None:
        """Return the norm's factor and shift if its convolution is to compute it now."""
        self.is_applied = conv.training and not is_watched(conv, self.norm)
        return affine_of(self.norm) if self.is_applied else None


class FoldingConv2d(nn.Conv2d):
    """A stock convolution that computes the frozen norm behind it too while it trains."""

    stock_class = nn.Conv2d
    behind: NormBehind

    def forward(self, x):
        """Map ``(batch, in, height, width)`` to ``(batch, out, height', width')``."""
        affine = self.behind(self)
        if affine is None:
            return super().forward(x)
        return self._conv_forward(x, *as_one(move_affine, self.weight, self.bias, affine))


def fold_norms(model: nn.Module) -> int:
    """Fold frozen BatchNorms into the convolutions before them, for training.

    Args:
        model (nn.Module): A model whose norms are frozen already. Names and keys stay.

    Returns:
        int: How many norms are folded.
    """
    sites = [site for site in find_sites(model) if is_affine(site.norm) and _is_foldable(site.conv)]
    # Outside a ConvModule the convolution itself must know its norm: it may have only one.
    pairs = [site for site in sites if not _is_conv_module(site.owner)]
    convs = [site.conv for site in sites]
    folded = 0
    for site in sites:
        if _is_conv_module(site.owner):
            from .conv_module import FoldingConvModule

            owner: Any = site.owner
            owner.__class__ = FoldingConvModule
            _keep_output(owner, site.norm)
            folded += 1
    for site in pairs:
        # Folded into a frozen convolution, a trained norm would cost it a weight gradient.
        if isinstance(site.norm, NormLayer) and not isinstance(site.conv, WeightLayer):
            continue
        if site.owner is None and convs.count(site.conv) == 1 and _norms(sites, site.norm) == 1:
            _fold_pair(site)
            folded += 1
    return folded


def unfold_norms(model: nn.Module) -> None:
    """Undo :func:`fold_norms`; the layers compute what they always did, one after the other."""
    module: Any
    for module in model.modules():
        if 'behind' in module.__dict__:
            del module.behind
        if 'folded_into' in module.__dict__:
            del module.folded_into
        if module.__dict__.pop('_inplace_before_folding', False):
            module.activate.inplace = True
        if isinstance(module, FoldingConv2d) or _is_folding(module):
            module.__class__ = module.stock_class


def _fold_pair(site: Site) -> None:
    conv: Any = site.conv
    norm: Any = site.norm
    conv.behind = NormBehind(norm)
    if not isinstance(conv, WeightLayer):
        conv.__class__ = FoldingConv2d
    norm.folded_into = (conv,)


def _keep_output(owner: Any, norm: nn.Module) -> None:
    # What SSF keeps is the output itself: the activation must not write into it.
    if (
        hasattr(norm, 'adapter')
        and getattr(owner, 'activate', None) is not None
        and getattr(owner.activate, 'inplace', False)
    ):
        owner.activate.inplace = False
        owner._inplace_before_folding = True


def _is_foldable(conv: nn.Module) -> bool:
    if isinstance(conv, WeightLayer):
        return conv.foldable
    return type(conv) is nn.Conv2d


def _norms(sites: list[Site], norm: nn.Module) -> int:
    return sum(site.norm is norm for site in sites)


def _is_conv_module(owner: nn.Module | None) -> bool:
    return owner is not None and type(owner) is sys.modules['mmcv.cnn'].ConvModule


def _is_folding(module: nn.Module) -> bool:
    folding = sys.modules.get(f'{__package__}.conv_module')
    return folding is not None and isinstance(module, folding.FoldingConvModule)
