"""What a tensor is that autograd has saved, of what is known of the call that saved it."""

import math
import weakref

from torch import Tensor

from .functions import Kind
from .kept import storage_of
from .values import Call, Form, Value


def find_origin(
    tensor: Tensor, call: Call, outputs: list[Value], kind: Kind, writes: bool
) -> Value | None:
    """Return the value of a tensor that was saved in a call, and is none of its arguments.

    Args:
        tensor (Tensor): The tensor.
        call (Call): The call.
        outputs (list[Value]): What it returned.
        kind (Kind): What is known of its function.
        writes (bool): Whether it has written over its first argument.

    Returns:
        Value: Its value; None if it is something else.
    """
    written = call.values[0].key if writes else None
    key = storage_of(tensor)
    for value in (*outputs, *(value for value in call.values if value.key != written)):
        if value.key == key:
            return _look_at(tensor, value)
    if not writes:
        return _other_form(tensor, call, kind.lowers) if kind.casts else None
    if kind.is_random:
        return None  # its noise
    before, form = call.values[0], Form.of(tensor)
    # Autograd's own copy of what was written over.
    return before if key != written and before.form.is_like(form) else None


def packed_value(tensor: Tensor, call: Call, place: int) -> Value:
    """Return the value of a tensor that its call saves again when it is made again."""
    value = Value(tensor, call, place=place)
    call.packs[place] = weakref.ref(value)
    return value


def _look_at(tensor: Tensor, value: Value) -> Value | None:
    """Return the value of a tensor that looks at the memory of another's."""
    form, other = Form.of(tensor), value.form
    if form == other:
        return value
    offset = form.offset - other.offset
    if form.dtype != other.dtype or offset < 0 or offset + form.extent > other.extent:
        return None
    return Value(
        tensor, Call(_view, (value, form.size, form.stride, offset), {}, [value], weight=0)
    )


def _view(base: Tensor, size: tuple, stride: tuple, offset: int) -> Tensor:
    return base.as_strided(size, stride, base.storage_offset() + offset)


def _other_form(tensor: Tensor, call: Call, lowers: bool) -> Value | None:
    """Return the value of a tensor that is one of the arguments, cast or made a matrix.

    Products take a copy of an argument that is no matrix in memory; autocast, and norms under it,
    a copy in another precision.
    """
    form = Form.of(tensor)
    same = [v for v in call.values if math.prod(v.form.size) == math.prod(form.size)]
    for depth in (1, 2):
        if len(same) > 1:
            same = [v for v in same if v.form.size[-depth:] == form.size[-depth:]]
    if len(same) != 1:
        return None
    value = same[0]
    if not (form.dtype.is_floating_point and value.form.dtype.is_floating_point):
        return None
    if form.dtype != value.form.dtype:
        cast = Call(Tensor.to, (value, form.dtype), {}, [value])
        return Value(tensor, cast) if form.size == value.form.size else None
    if not (lowers and tensor.is_contiguous()):
        return None
    return Value(tensor, Call(Tensor.reshape, (value, form.size), {}, [value]))
