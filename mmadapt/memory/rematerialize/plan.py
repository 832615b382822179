"""What has to be kept for a tensor to be made again."""

from torch import Tensor

from .kept import Kept, Store
from .values import Value

# How many calls making one tensor again may take; what is further away is kept. So a chain of any
# length costs a few more passes over each tensor, not one for all before it.
MOST_CALLS = 16
_MOST_VALUES = 200  # views count among these alone


class Plan:
    """What a tensor is made from, at the least cost that is found.

    Args:
        store (Store): What is kept already.
        target (Value): What is to be made.
        copies (bool): Whether parameters may be away when it is made, as strategies that shard them
            gather them for their own block alone.

    Attributes:
        anchors (dict[Value, Kept]): What is kept already.
        missing (dict[Value, Tensor]): What is not yet.
        is_possible (bool): Whether it can be made.
    """

    def __init__(self, store: Store, target: Value, copies: bool) -> None:
        self.anchors: dict[Value, Kept] = {}
        self.missing: dict[Value, Tensor] = {}
        self._store, self._target = store, target
        # A weight made from weights is used where these are.
        self._copies = copies and not target.is_pure
        self._calls = 0
        self._reached: set[Value] = set()
        self.is_possible = self._reach(target)

    @property
    def cost(self) -> int:
        """int: The bytes that would be kept for it and are not yet."""
        sizes = {v.key: v.nbytes for v in self.missing if not self._store.holds(v.key)}
        return sum(sizes.values())

    def _reach(self, value: Value) -> bool:
        if value in self._reached:
            return True
        self._reached.add(value)
        kept = value.kept
        if kept is not None and value is not self._target and kept.is_unwritten():
            self.anchors[value] = kept
            return True
        if value.own is not None and not self._copies:
            return True
        return self._reach_by_call(value) or self._reach_by_keeping(value)

    def _reach_by_call(self, value: Value) -> bool:
        call = value.call
        if len(self._reached) > _MOST_VALUES:
            return False
        if call is None or self._calls + call.weight > MOST_CALLS:
            return False
        before = dict(self.anchors), dict(self.missing), self._calls, set(self._reached)
        cost = self.cost
        self._calls += call.weight
        if all(map(self._reach, call.needed(value))):
            more, is_target = self.cost - cost, value is self._target
            if more == 0 or is_target or more < value.nbytes or value.tensor() is None:
                return True
        self.anchors, self.missing, self._calls, self._reached = before
        return False

    def _reach_by_keeping(self, value: Value) -> bool:
        # Of a parameter that may be away, a copy was taken in time, or none.
        is_out = value is self._target or value.own is not None
        tensor = None if is_out else value.tensor()
        if tensor is None:
            return False
        self.missing[value] = tensor
        return True
