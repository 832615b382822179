"""Decides what becomes of each tensor that autograd saves."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from .bits import PositiveBits
from .functions import Kind
from .kept import Kept, Store, storage_of
from .origins import find_origin, packed_value
from .plan import Plan
from .saved import Saved
from .values import Call, Value

# What is smaller, in bytes, is not worth the time of noting how it was made.
SMALL = 2**16
# What is smaller is copied, where what is made of it may be made again.
TINY = 2**12
PLAIN = frozenset((Tensor, nn.Parameter, nn.Buffer))


class Saving:
    """What autograd has saved in a forward pass.

    Args:
        levels (set[str]): What is made again, of :data:`~.levels.LEVELS`.
        buffers (Iterable[Tensor]): Those of the model, which are there anyway.
        is_sharded (bool): Whether the parameters are there only while their block computes.
        count (Callable, optional): Gets all that is kept; what it returns lives as long.
    """

    def __init__(
        self,
        levels: set[str],
        buffers: Iterable[Tensor],
        is_sharded: bool,
        count: Callable[[Tensor], object] | None,
    ) -> None:
        self._buffers = {id(buffer): buffer for buffer in buffers}
        self._store = Store(count, self._buffers.values())
        self._levels, self._is_sharded = levels, is_sharded

    def is_buffer(self, tensor: Tensor) -> bool:
        """Return whether a tensor is a buffer of the model."""
        return id(tensor) in self._buffers

    def leave(self) -> None:
        """Forget the buffers: the graph of a pass may outlive them."""
        self._buffers.clear()

    def protect(self, tensor: Tensor) -> None:
        """Copy what others are made from, as the memory of this tensor is about to be written."""
        self._store.protect(tensor)

    def settle(
        self,
        packs: list[Saved],
        known: Callable[[Tensor], Value | None],
        call: Call,
        kind: Kind,
        outputs: list[Value],
        writes: bool,
        is_sound: bool,
    ) -> None:
        """Decide about all that was saved in a call.

        Args:
            packs (list[Saved]): What was saved, in order.
            known (Callable): Returns the value of a tensor, if it has one.
            call (Call): The call.
            kind (Kind): What is known of its function.
            outputs (list[Value]): What it has returned.
            writes (bool): Whether it has written over its first argument.
            is_sound (bool): Whether it does the same when it is called again.
        """
        call.saves, call.records = len(packs), kind.level == 'attention'
        is_again = (
            is_sound
            and kind.level in self._levels
            and (kind.saves_again or call.random is not None)
        )
        for place, saved in enumerate(packs):
            tensor = saved.pending()
            value = known(tensor) or find_origin(tensor, call, outputs, kind, writes)
            if value is None and is_again:
                value = packed_value(tensor, call, place)
            is_sign = kind.is_relu and 'relu' in self._levels and value in outputs
            self.decide(saved, value, is_sign=is_sign)

    def decide(
        self,
        saved: Saved,
        value: Value | None,
        is_sign: bool = False,
    ) -> None:
        """Decide about one tensor.

        Args:
            saved (Saved): What stands for it.
            value (Value, optional): What it is, if that is known.
            is_sign (bool): Whether its signs are all that is needed. Defaults to False.
        """
        tensor = saved.pending()
        if not is_plain(tensor):
            return  # as it is
        if isinstance(tensor, nn.Parameter) or self.is_buffer(tensor):
            saved.point_at(tensor)
            return
        if tensor.nbytes < SMALL:
            watched = _watched(tensor, value)
            saved.point_at(tensor.detach(), watched.detach(), self._store.counted(tensor))
            return
        is_free = self._store.holds(storage_of(tensor))
        if value is not None and value.call is not None and not is_free:
            plan = Plan(self._store, value, self._is_sharded)
            if plan.is_possible and plan.cost < tensor.untyped_storage().nbytes():
                for other, missing in plan.missing.items():
                    plan.anchors[other] = self.keep(missing, other)
                saved.make_from(value, plan.anchors)
                return
        if is_sign and not is_free:
            saved.keep(PositiveBits(tensor))
        else:
            saved.keep(self.keep(tensor, value))

    def keep(self, tensor: Tensor, value: Value | None) -> Kept:
        """Keep a tensor, once for all that need this value of it."""
        kept = None if value is None else value.kept
        # Of what was written over, autograd saves a copy.
        if kept is not None and kept.key == storage_of(tensor):
            return kept
        kept = Kept(tensor.detach(), _watched(tensor, value).detach(), self._store)
        if value is not None:
            value.kept = kept
        return kept

    def hold(self, tensor: Tensor, value: Value) -> None:
        """Keep a copy of a small tensor as long as anything may be made from it."""
        copied = tensor.detach().clone()
        value.hold = Kept(copied, copied, self._store)


def _watched(tensor: Tensor, value: Value | None) -> Tensor:
    """Return what shares its version with a tensor that was saved."""
    # What autograd hands over of an output has a version of its own.
    watched = None if value is None else value.tensor()
    return tensor if watched is None else watched


def is_large(tensor: Tensor) -> bool:
    """Return whether it is worth knowing how a tensor was made."""
    return tensor.layout is torch.strided and tensor.nbytes >= SMALL


def is_tiny(tensor: Tensor) -> bool:
    """Return whether a tensor is so small that it may be kept beside all others."""
    return tensor.layout is torch.strided and tensor.nbytes < TINY


def is_plain(tensor: Tensor) -> bool:
    """Return whether a tensor is one with memory, strides and a version."""
    return (
        type(tensor) in PLAIN
        and tensor.layout is torch.strided
        and not (tensor.is_quantized or tensor.is_nested or tensor.is_inference())
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    )
