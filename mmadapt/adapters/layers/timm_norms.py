"""Norms of timm that hold the activation behind them: frozen ones and adapted ones."""

from timm.layers import BatchNormAct2d
from torch import Tensor

from ...norms import FrozenStatistics, register_frozen
from ..layer import StockView
from .norm import MovingBatchNormLayer, NormLayer


@register_frozen
class FrozenBatchNormAct2d(FrozenStatistics, BatchNormAct2d):
    """BatchNormAct2d with frozen statistics."""

    stock_class = BatchNormAct2d
    is_only_norm = False


class AdaptedFrozenBatchNormAct2d(NormLayer, FrozenBatchNormAct2d):
    """An adapted BatchNormAct2d of frozen statistics."""

    stock_class = FrozenBatchNormAct2d

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, height, width)`` to the same shape."""
        return BatchNormAct2d.forward(StockView(self, self.merged_tensors()), x)


class AdaptedBatchNormAct2d(MovingBatchNormLayer, BatchNormAct2d):
    """An adapted BatchNormAct2d."""

    stock_class = BatchNormAct2d


CLASSES = (AdaptedFrozenBatchNormAct2d, AdaptedBatchNormAct2d)
