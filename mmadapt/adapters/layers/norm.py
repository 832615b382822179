"""Adapted norm layers: another weight and bias are another affine map of the same shape."""

from collections.abc import Callable

import torch.nn.functional as F
from mmengine.model.utils import _BatchNormXd
from mmengine.utils.dl_utils.parrots_wrapper import SyncBatchNorm
from torch import Tensor, nn

from ... import norms
from ..layer import AdapterLayer, StockView


class NormLayer(AdapterLayer):
    """What adapted norms share."""

    weight: nn.Parameter
    bias: nn.Parameter

    def weight_parts(self) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Return weight and bias, ``(channels, )``."""
        return {'': (self.weight, self.bias)}

    def effective(self) -> tuple[Tensor, Tensor | None]:
        """Return the weight and bias of the affine map, ``(channels, )``."""
        return self.adapted('', *self.weight_parts()[''])

    def merged_tensors(self) -> dict[str, Tensor]:
        """Return the weight and bias of the stock norm that computes the same."""
        weight, bias = self.effective()
        return dict(weight=weight) if bias is None else dict(weight=weight, bias=bias)


class FrozenBatchNormLayer(NormLayer, norms.FrozenStatistics):
    """How an adapted BatchNorm of frozen statistics computes."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, *size)`` to the same shape."""
        if self.is_folded:
            return x
        weight, bias = self.effective()
        return F.batch_norm(
            x, self.running_mean, self.running_var, weight, bias, False, 0.0, self.eps
        )


class MovingBatchNormLayer(NormLayer):
    """How an adapted BatchNorm of moving statistics computes.

    The stock norm keeps its statistics, between processes too.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, *size)`` to the same shape."""
        stock_forward: Callable[..., Tensor] = self.stock_class.forward
        return stock_forward(StockView(self, self.merged_tensors()), x)


class AdaptedLayerNorm(NormLayer, nn.LayerNorm):
    """An adapted LayerNorm."""

    stock_class = nn.LayerNorm

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., *normalized_shape)`` to the same shape."""
        return F.layer_norm(x, self.normalized_shape, *self.effective(), self.eps)


class AdaptedGroupNorm(NormLayer, nn.GroupNorm):
    """An adapted GroupNorm."""

    stock_class = nn.GroupNorm

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, *size)`` to the same shape."""
        return F.group_norm(x, self.num_groups, *self.effective(), self.eps)


class AdaptedRMSNorm(NormLayer, nn.RMSNorm):
    """An adapted RMSNorm, which has no bias."""

    stock_class = nn.RMSNorm

    def weight_parts(self) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Return the weight, ``(channels, )``."""
        return {'': (self.weight, None)}

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., *normalized_shape)`` to the same shape."""
        return F.rms_norm(x, self.normalized_shape, self.effective()[0], self.eps)


class AdaptedFrozenBatchNorm1d(FrozenBatchNormLayer, norms.FrozenBatchNorm1d):
    """An adapted BatchNorm1d of frozen statistics."""

    stock_class = norms.FrozenBatchNorm1d


class AdaptedFrozenBatchNorm2d(FrozenBatchNormLayer, norms.FrozenBatchNorm2d):
    """An adapted BatchNorm2d of frozen statistics."""

    stock_class = norms.FrozenBatchNorm2d


class AdaptedFrozenBatchNorm3d(FrozenBatchNormLayer, norms.FrozenBatchNorm3d):
    """An adapted BatchNorm3d of frozen statistics."""

    stock_class = norms.FrozenBatchNorm3d


class AdaptedFrozenBatchNormXd(FrozenBatchNormLayer, norms.FrozenBatchNormXd):
    """An adapted reverted SyncBatchNorm of frozen statistics."""

    stock_class = norms.FrozenBatchNormXd


class AdaptedFrozenSyncBatchNorm(FrozenBatchNormLayer, norms.FrozenSyncBatchNorm):
    """An adapted SyncBatchNorm of frozen statistics."""

    stock_class = norms.FrozenSyncBatchNorm


class AdaptedFrozenMMSyncBatchNorm(FrozenBatchNormLayer, norms.FrozenMMSyncBatchNorm):
    """An adapted SyncBatchNorm of MMEngine, of frozen statistics."""

    stock_class = norms.FrozenMMSyncBatchNorm


class AdaptedBatchNorm1d(MovingBatchNormLayer, nn.BatchNorm1d):
    """An adapted BatchNorm1d."""

    stock_class = nn.BatchNorm1d


class AdaptedBatchNorm2d(MovingBatchNormLayer, nn.BatchNorm2d):
    """An adapted BatchNorm2d."""

    stock_class = nn.BatchNorm2d


class AdaptedBatchNorm3d(MovingBatchNormLayer, nn.BatchNorm3d):
    """An adapted BatchNorm3d."""

    stock_class = nn.BatchNorm3d


class AdaptedBatchNormXd(MovingBatchNormLayer, _BatchNormXd):
    """An adapted reverted SyncBatchNorm."""

    stock_class = _BatchNormXd


class AdaptedSyncBatchNorm(MovingBatchNormLayer, nn.SyncBatchNorm):
    """An adapted SyncBatchNorm."""

    stock_class = nn.SyncBatchNorm


CLASSES: tuple[type[NormLayer], ...] = (
    AdaptedLayerNorm,
    AdaptedGroupNorm,
    AdaptedRMSNorm,
    AdaptedFrozenBatchNorm1d,
    AdaptedFrozenBatchNorm2d,
    AdaptedFrozenBatchNorm3d,
    AdaptedFrozenBatchNormXd,
    AdaptedFrozenSyncBatchNorm,
    AdaptedFrozenMMSyncBatchNorm,
    AdaptedBatchNorm1d,
    AdaptedBatchNorm2d,
    AdaptedBatchNorm3d,
    AdaptedBatchNormXd,
    AdaptedSyncBatchNorm,
)
if SyncBatchNorm is not nn.SyncBatchNorm:

    class AdaptedMMSyncBatchNorm(MovingBatchNormLayer, SyncBatchNorm):
        """An adapted SyncBatchNorm of MMEngine."""

        stock_class = SyncBatchNorm

    CLASSES += (AdaptedMMSyncBatchNorm,)
