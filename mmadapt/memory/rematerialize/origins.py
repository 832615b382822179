"""What a tensor is that autograd has saved, of what is known of the call that saved it."""

import math
import weakref

import torch
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
        return _other_form(tensor, call) if kind.casts else None
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


def _other_form(tensor: Tensor, call: Call) -> Value | None:
    """Return the value of a tensor that is one of the arguments, cast or made a matrix.

    Norms and, of parameters, products save a copy in the precision that autocast chooses. Products
    save a copy of an argument that they cannot look at as a matrix.
    """
    form = Form.of(tensor)
    for value in call.values:
        other = value.form
        if other.dtype == form.dtype or not other.dtype.is_floating_point:
            continue
        if _is_only(call, value) and (other.size, other.stride) == (form.size, form.stride):
            return Value(tensor, Call(Tensor.to, (value, form.dtype), {}, [value]))
        turned = other.size[::-1], other.stride[::-1]
        if _is_only(call, value) and len(other.size) == 2 and turned == (form.size, form.stride):
            return Value(tensor, Call(_cast_and_turn, (value, form.dtype), {}, [value]))
    matrix = _as_matrix(call, form)
    if matrix is None or not tensor.is_contiguous():
        return None
    return Value(tensor, Call(Tensor.reshape, (matrix, form.size), {}, [matrix]))


def _is_only(call: Call, value: Value) -> bool:
    """Return whether no other argument has as many elements."""
    count = math.prod(value.form.size)
    return sum(math.prod(other.form.size) == count for other in call.values) == 1


def _cast_and_turn(weight: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.to(dtype).t()


def _as_matrix(call: Call, form: Form) -> Value | None:
    """Return the argument of a product that it has copied into one matrix, or one for each item."""
    first, name = call.values[0], getattr(call.function, '__name__', '')
    if first.form.dtype != form.dtype:
        return None
    if name in ('linear', 'map_down'):
        rows, width = math.prod(first.form.size[:-1]), first.form.size[-1]
        is_input = form.size == (rows, width) and call.args and call.args[0] is first
        others = {v.form.size for v in call.values if v is not first}
        return first if is_input and form.size not in others else None
    if name not in ('matmul', '__matmul__') or len(call.values) != 2:
        return None
    sizes = [value.form.size for value in call.values]
    if min(map(len, sizes)) < 3 or sizes[0][:-2] != sizes[1][:-2]:
        return None
    batch = math.prod(sizes[0][:-2])
    same = [v for v in call.values if form.size == (batch, *v.form.size[-2:])]
    return same[0] if len(same) == 1 else None
