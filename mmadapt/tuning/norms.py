"""Norm layers under PEFT: which of their parameters train and whether their statistics move.

A frozen backbone whose BatchNorm statistics drift is not frozen: the adapter alone would no longer
reproduce the model. Runners call ``model.train()`` at every epoch, so a norm is kept in eval mode
by its class, not by a call.
"""

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from mmengine.model.utils import _BatchNormXd
from mmengine.utils.dl_utils.parrots_wrapper import SyncBatchNorm

from ..errors import UserError

NORM_LAYERS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


class FrozenStatistics:
    """Mixin of norm layers that stay in eval mode, so that their statistics do not move."""

    def train(self, mode: bool = True):
        """Stay in eval mode, whatever ``mode`` is."""
        return super().train(False)


class FrozenBatchNorm1d(FrozenStatistics, nn.BatchNorm1d):
    """BatchNorm1d with frozen statistics."""


class FrozenBatchNorm2d(FrozenStatistics, nn.BatchNorm2d):
    """BatchNorm2d with frozen statistics."""


class FrozenBatchNorm3d(FrozenStatistics, nn.BatchNorm3d):
    """BatchNorm3d with frozen statistics."""


class FrozenSyncBatchNorm(FrozenStatistics, nn.SyncBatchNorm):
    """SyncBatchNorm with frozen statistics; it then needs no other process."""


class FrozenMMSyncBatchNorm(FrozenStatistics, SyncBatchNorm):
    """MMEngine's SyncBatchNorm, which ``SyncBN`` in a config means, with frozen statistics."""


class FrozenBatchNormXd(FrozenStatistics, _BatchNormXd):
    """What MMEngine turns SyncBatchNorm into in a single process, with frozen statistics."""


class FrozenInstanceNorm2d(FrozenStatistics, nn.InstanceNorm2d):
    """InstanceNorm2d with frozen statistics."""


_FROZEN = {cls.__bases__[1]: cls for cls in (
    FrozenBatchNorm1d, FrozenBatchNorm2d, FrozenBatchNorm3d, FrozenSyncBatchNorm,
    FrozenMMSyncBatchNorm, FrozenBatchNormXd, FrozenInstanceNorm2d)}


def is_norm(module: nn.Module) -> bool:
    """Return whether ``module`` is a norm layer."""
    return isinstance(module, NORM_LAYERS)


def has_statistics(module: nn.Module) -> bool:
    """Return whether ``module`` is a norm layer that keeps running statistics."""
    return isinstance(module, _NormBase) and module.track_running_stats


def statistics_move(module: nn.Module) -> bool:
    """Return whether ``module`` is a norm layer whose running statistics training changes."""
    return has_statistics(module) and not isinstance(module, FrozenStatistics)


def freeze_statistics(module: nn.Module, name: str) -> None:
    """Keep a norm layer in eval mode from now on, also through ``model.train()``.

    Args:
        module (nn.Module): A norm layer; one without running statistics is left as it is.
        name (str): Its name in the model, for the message.

    Raises:
        UserError: The class of the layer is not one whose statistics can be frozen.
    """
    if not has_statistics(module) or isinstance(module, FrozenStatistics):
        return
    frozen = _FROZEN.get(type(module))
    if frozen is None:
        raise UserError(f'{name}: the statistics of a {type(module).__name__} cannot be frozen; '
                        f"write peft.norm='stats' or 'train'")
    module.__class__ = frozen
    module.eval()


def unfreeze_statistics(module: nn.Module, training: bool) -> None:
    """Give a norm layer its stock class again.

    Args:
        module (nn.Module): Any module; only what :func:`freeze_statistics` changed is touched.
        training (bool): The mode it is put into.
    """
    if isinstance(module, FrozenStatistics):
        module.__class__ = type(module).__bases__[1]
        module.train(training)
