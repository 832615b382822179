"""Norm layers under PEFT: which of their parameters train and whether their statistics move.

A frozen backbone whose BatchNorm statistics drift is not frozen: the adapter alone would no longer
reproduce the model. Runners call ``model.train()`` at every epoch, so a norm is kept in eval mode
by its class, not by a call.
"""

from typing import TYPE_CHECKING, Any, ClassVar

from mmengine.model.utils import _BatchNormXd
from mmengine.utils.dl_utils.parrots_wrapper import SyncBatchNorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from .errors import UserError

NORM_LAYERS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
MODE = 'stock_mode'
"""The attribute by which a norm of frozen statistics knows the mode that it would be in."""


if TYPE_CHECKING:
    _Norm = _NormBase  # what the mixin is mixed into
else:
    _Norm = object


class FrozenStatistics(_Norm):
    """Mixin of norm layers that stay in eval mode, so that their statistics do not move.

    Attributes:
        stock_class (type): The class the layer had.
        is_only_norm (bool): Whether the layer computes nothing behind the norm.
        folded_into (tuple, optional): The convolution that computes the norm too while it trains.
    """

    stock_class: ClassVar[type[nn.Module]]
    is_only_norm: ClassVar[bool] = True
    folded_into: tuple[Any] | None = None

    @property
    def is_folded(self) -> bool:
        """bool: Whether the convolution before has computed this norm already."""
        return self.folded_into is not None and bool(self.folded_into[0].behind.is_applied)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize, unless that has been done."""
        return x if self.is_folded else super().forward(x)

    def train(self, mode: bool = True):
        """Stay in eval mode, and remember ``mode`` for the stock norm; what is in it changes."""
        super().train(mode)
        set_mode(self, mode)
        return self


class FrozenBatchNorm1d(FrozenStatistics, nn.BatchNorm1d):
    """BatchNorm1d with frozen statistics."""

    stock_class = nn.BatchNorm1d


class FrozenBatchNorm2d(FrozenStatistics, nn.BatchNorm2d):
    """BatchNorm2d with frozen statistics."""

    stock_class = nn.BatchNorm2d


class FrozenBatchNorm3d(FrozenStatistics, nn.BatchNorm3d):
    """BatchNorm3d with frozen statistics."""

    stock_class = nn.BatchNorm3d


class FrozenBatchNormXd(FrozenStatistics, _BatchNormXd):
    """What MMEngine turns SyncBatchNorm into in a single process, with frozen statistics."""

    stock_class = _BatchNormXd


class FrozenSyncBatchNorm(FrozenBatchNormXd):
    """SyncBatchNorm with frozen statistics.

    It needs no other process, and is no ``SyncBatchNorm``, or MMEngine's ``revert_sync_batchnorm``
    would put one with moving statistics into its place.
    """

    stock_class: ClassVar[type[nn.Module]] = nn.SyncBatchNorm


class FrozenMMSyncBatchNorm(FrozenBatchNormXd):
    """The same for MMEngine's SyncBatchNorm, which ``SyncBN`` in a config means."""

    stock_class = SyncBatchNorm


class FrozenInstanceNorm2d(FrozenStatistics, nn.InstanceNorm2d):
    """InstanceNorm2d with frozen statistics."""

    stock_class = nn.InstanceNorm2d


_FROZEN: dict[type[nn.Module], type] = {
    cls.stock_class: cls
    for cls in (
        FrozenBatchNorm1d,
        FrozenBatchNorm2d,
        FrozenBatchNorm3d,
        FrozenSyncBatchNorm,
        FrozenMMSyncBatchNorm,
        FrozenBatchNormXd,
        FrozenInstanceNorm2d,
    )
}


def register_frozen(cls: type[FrozenStatistics]) -> type[FrozenStatistics]:
    """Register what a norm of another library becomes; to be used as a decorator.

    Args:
        cls (type[FrozenStatistics]): A subclass of ``cls.stock_class`` too, the class of the norm.

    Returns:
        type[FrozenStatistics]: The class itself.
    """
    _FROZEN[cls.stock_class] = cls
    return cls


def is_norm(module: nn.Module) -> bool:
    """Return whether ``module`` is a norm layer: one of torch's, or one of a library's own.

    Models of text have RMS norms that are no subclass of anything. They are known by what all of
    them are: a class called a norm, with a weight for each channel and nothing inside.
    """
    if isinstance(module, NORM_LAYERS):
        return True
    own = [p for p in module._parameters.values() if p is not None]
    return (
        'norm' in type(module).__name__.lower()
        and not module._modules
        and module._parameters.get('weight') is not None
        and all(p.dim() == 1 for p in own)
    )


def has_statistics(module: nn.Module) -> bool:
    """Return whether ``module`` is a norm layer that keeps running statistics."""
    return isinstance(module, _NormBase) and module.track_running_stats


def statistics_move(module: nn.Module) -> bool:
    """Return whether ``module`` is a norm layer whose running statistics training changes."""
    return has_statistics(module) and not isinstance(module, FrozenStatistics)


def can_freeze(module: nn.Module) -> bool:
    """Return whether the statistics of a norm layer can be frozen, or are."""
    return isinstance(module, FrozenStatistics) or type(module) in _FROZEN


def freeze_statistics(module: nn.Module, name: str) -> None:
    """Keep a norm layer in eval mode from now on, also through ``model.train()``.

    Args:
        module (nn.Module): A norm layer; one without running statistics is left as it is.
        name (str): Its name in the model, for the message.

    Raises:
        UserError: The class of the layer is not one whose statistics can be frozen.
    """
    mode = mode_of(module)
    module.__class__ = frozen_class(module, name)
    set_mode(module, mode)


def frozen_class(module: nn.Module, name: str) -> type[nn.Module]:
    """Return the class that :func:`freeze_statistics` gives a norm layer.

    Args:
        module (nn.Module): The norm.
        name (str): Its name in the model, for messages.

    Raises:
        UserError: There is none.
    """
    if not has_statistics(module) or isinstance(module, FrozenStatistics):
        return type(module)
    if not can_freeze(module):
        raise UserError(
            f'{name}: the statistics of a {type(module).__name__} cannot be frozen; '
            f"write peft.norm='stats' or 'train'"
        )
    return _FROZEN[type(module)]


def unfreeze_statistics(module: nn.Module) -> None:
    """Give a norm layer its stock class again, and the mode that it was last put into.

    Args:
        module (nn.Module): Any module; only what :func:`freeze_statistics` changed is touched.
    """
    if isinstance(module, FrozenStatistics):
        mode = mode_of(module)
        module.__class__ = module.stock_class  # type: ignore[assignment]  # another class
        set_mode(module, mode)


def mode_of(module: nn.Module) -> bool:
    """Return the mode that a module was last put into, by whomever.

    That of a norm of frozen statistics is in ``training`` only once they move again.
    """
    return module.__dict__.get(MODE, module.training)


def set_mode(module: nn.Module, mode: bool) -> None:
    """Put a module, and nothing inside it, into a mode, as :func:`mode_of` returns it."""
    if isinstance(module, FrozenStatistics):
        module.__dict__[MODE], module.training = mode, False
    else:
        module.__dict__.pop(MODE, None)
        module.training = mode
