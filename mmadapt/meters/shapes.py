"""Runs a model on tensors that have shapes and storages, but, if they are large, no values.

Which bytes a training step allocates, keeps and frees follows from shapes. So a step of any size
can be followed on a CPU, in seconds and without the memory that it would take: what a large tensor
holds is neither computed nor ever touched. What is small is computed, so that the Python code that
looks at values (matching, sampling, filtering of boxes) finds some.
"""

import mmap
import weakref
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

LARGE = 2**20
# Labels and indices are computed, as shapes follow from them; masks of dropout are not.
LARGE_INTEGERS = 2**26


class _Form(NamedTuple):
    """What is known of a tensor without values: all but these."""

    size: torch.Size
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    storage: int

    @property
    def nbytes(self) -> int:
        return self.size.numel() * self.dtype.itemsize


class ShapesOnly(TorchDispatchMode):
    """Does not compute what is large, and counts the memory of tensors. To be used with ``with``.

    Large tensors are 0. Works on CPU tensors; below autograd, so that what is saved for backward is
    what would be saved with values. What kernels allocate inside of them is not seen.

    Args:
        large (int): From how many bytes of an input or output on nothing is computed.

    Attributes:
        live (int): The bytes of all tensors made inside and not freed yet.
        peak (int): The most that ``live`` has been since :meth:`reset_peak`.
        large (int): May be changed. With 0 no floating point number is computed at all, which is
            enough for a backward pass and a step of an optimizer.
    """

    def __init__(self, large: int = LARGE) -> None:
        super().__init__()
        self.large = large
        self.live = self.peak = 0
        self._storages: dict[int, weakref.finalize] = {}
        self._forms: dict[tuple, object] = {}

    def reset_peak(self) -> None:
        """Let the peak begin at what is live now."""
        self.peak = self.live

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = self._run(func, args, kwargs or {})
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _run(self, func, args: tuple, kwargs: dict):
        schema = func._schema
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if schema.is_mutable:
            return self._write(func, args, kwargs, inputs)
        if any(result.alias_info is not None for result in schema.returns):
            return func(*args, **kwargs)  # a view
        forms = self._forms_of(func, args, kwargs, inputs)
        if forms is None or not self._is_large(_leaves(forms), inputs):
            return func(*args, **kwargs)
        return tree_map_only(_Form, _without_values, forms, is_leaf=_is_form)

    def _write(self, func, args: tuple, kwargs: dict, inputs: list[Tensor]):
        """Run what writes into its arguments, unless these are large."""
        schema, written = func._schema, {}
        for index, argument in enumerate(schema.arguments):
            if argument.is_write:
                value = args[index] if index < len(args) else kwargs.get(argument.name)
                written[argument.name] = value
        outputs = [leaf for leaf in tree_leaves(list(written.values())) if isinstance(leaf, Tensor)]
        aliases = [result.alias_info is not None for result in schema.returns]
        if not self._is_large(outputs, inputs) or (any(aliases) and len(aliases) > len(written)):
            return func(*args, **kwargs)
        if not aliases:
            return None
        if any(aliases):
            values = tuple(written.values())
            return values[0] if len(aliases) == 1 else values
        forms = self._forms_of(func, args, kwargs, inputs)
        return tree_map_only(_Form, _without_values, forms, is_leaf=_is_form)

    def _is_large(self, outputs: Iterable, inputs: Iterable) -> bool:
        outputs = list(outputs)
        floats = all(t.dtype.is_floating_point or t.nbytes >= LARGE_INTEGERS for t in outputs)
        return bool(outputs) and floats and max(t.nbytes for t in (*outputs, *inputs)) >= self.large

    def _forms_of(self, func, args: tuple, kwargs: dict, inputs: list[Tensor]):
        """Return the forms of what an operator returns; None where they follow from values."""
        key = (func, _key(args), _key(kwargs))
        if key not in self._forms:
            self._forms[key] = _find_forms(func, args, kwargs, bool(inputs))
        return self._forms[key]

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages:
            return
        self._storages[key] = weakref.finalize(storage, self._forget, key, size)
        self._storages[key].atexit = False
        self.live += size
        self.peak = max(self.peak, self.live)

    def _forget(self, key: int, size: int) -> None:
        del self._storages[key]
        self.live -= size


def _find_forms(func, args: tuple, kwargs: dict, has_inputs: bool):
    if not has_inputs and not any(a.name == 'device' for a in func._schema.arguments):
        return None
    meta = torch.device('meta')
    args, kwargs = tree_map_only(Tensor, _on_meta, (args, kwargs))
    if 'device' in kwargs or not has_inputs:
        kwargs = dict(kwargs, device=meta, pin_memory=False)
    try:
        result = func(*args, **kwargs)
    # Operators say in many ways that they cannot tell without values.
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return None
    return tree_map_only(
        Tensor,
        lambda t: _Form(
            t.size(), t.stride(), t.storage_offset(), t.dtype, t.untyped_storage().nbytes()
        ),
        result,
    )


def _on_meta(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device='meta')


def _without_values(form: _Form) -> Tensor:
    # The system gives zeros without giving memory, until they are written into.
    zeros = torch.frombuffer(mmap.mmap(-1, max(form.storage, 1)), dtype=torch.uint8)
    storage = zeros.untyped_storage()
    return torch.empty(0, dtype=form.dtype).set_(storage, form.offset, form.size, form.stride)


def _is_form(value) -> bool:
    return isinstance(value, _Form)


def _leaves(forms) -> list[_Form]:
    return [leaf for leaf in tree_leaves(forms, is_leaf=_is_form) if _is_form(leaf)]


def _key(value):
    """Return what the forms of results may depend on, as something hashable."""
    if isinstance(value, Tensor):
        return value.size(), value.stride(), value.dtype
    if isinstance(value, (list, tuple)):
        return tuple(map(_key, value))
    if isinstance(value, dict):
        return tuple((name, _key(item)) for name, item in value.items())
    return type(value), value  # 1, 1.0 and True are equal, and give other dtypes
