"""Which functions of torch are cheap to call again, and what else has to be known of each.

By name, as :class:`torch.overrides.TorchFunctionMode` sees them: ``torch.add``, ``Tensor.add`` and
``x + y`` are three functions. What is in no list is never called again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...adapters.as_one import as_one
from ...adapters.layers.dropout import drop_and_map, map_down

ALWAYS = 'always'

_ELEMENTWISE = """
    abs neg negative positive exp exp2 expm1 log log1p log2 log10 sqrt rsqrt square sin cos tan tanh
    atan sigmoid erf sign floor ceil round trunc frac reciprocal clamp clamp_min clamp_max clip relu
    relu6 celu elu selu silu gelu mish hardswish hardsigmoid hardtanh leaky_relu softplus logsigmoid
    logit threshold softsign tanhshrink prelu glu pow nan_to_num masked_fill where add sub subtract
    mul multiply div divide true_divide rsub maximum minimum fmax fmin lerp addcmul addcdiv eq ne gt
    lt ge le logical_not logical_and logical_or logical_xor isnan isinf isfinite
    to type type_as float half bfloat16 double bool int long clone contiguous
    __add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ __div__ __rdiv__
    __pow__ __rpow__ __neg__ __abs__ __eq__ __ne__ __gt__ __lt__ __ge__ __le__ __invert__ __and__
    __or__ __xor__
"""
_COPIES = """
    cat concat concatenate stack hstack vstack dstack pad constant_pad_nd roll flip repeat tile
    repeat_interleave gather take_along_dim index_select tril triu
    pixel_shuffle pixel_unshuffle channel_shuffle
"""
_NORMS = 'layer_norm group_norm rms_norm batch_norm instance_norm'
_VIEWS = """
    view reshape flatten unflatten permute transpose t squeeze unsqueeze expand expand_as view_as
    reshape_as broadcast_to narrow select split chunk unbind tensor_split movedim moveaxis swapaxes
    swapdims diagonal unfold detach as_strided __getitem__ adjoint ravel split_with_sizes
"""
_PROPERTIES = ('T', 'mT', 'H', 'mH')
_RANDOM = 'dropout feature_dropout alpha_dropout dropout1d dropout2d dropout3d'
_RESAMPLING = """
    max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool2d interpolate upsample
    upsample_nearest upsample_bilinear grid_sample
"""
# Autocast casts every argument of these, on every device.
_PRODUCTS = """
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear mm addmm
"""
_PRODUCTS_OF_ATTENTION = 'matmul bmm baddbmm __matmul__'
_ATTENTION = 'scaled_dot_product_attention multi_head_attention_forward'
# Of parameters alone: products the size of a weight.
_OF_WEIGHTS = 'matmul __matmul__ mm bmm addmm einsum outer kron'
_WRITES = {
    *('__set__', '__setitem__', '__ior__', '__ixor__', '__ifloordiv__', '__imod__'),
    *('__ilshift__', '__irshift__', '__imatmul__'),
}
_NO_WRITES = {'requires_grad_', 'retain_grad', 'share_memory_', 'rename_', 'detach_'}
_I_OPERATORS = {
    f'__i{name}__': f'__{name}__' for name in ('add', 'sub', 'mul', 'truediv', 'div', 'pow', 'and')
}
_PLACES = (torch, Tensor, F, torch.special)


@dataclass(frozen=True)
class Kind:
    """What is known of a function.

    Args:
        level (str, optional): With which of :data:`~.levels.LEVELS` its outputs are made again;
            None for never.
        is_view (bool): Whether its outputs look at the memory of its argument, or may.
        is_random (bool): Whether it draws random numbers, if its arguments say so.
        is_relu (bool): Whether the signs of its output are all that its gradient asks for.
        of_weights (bool): Whether its outputs are made again if they are made of parameters alone.
        lowers (bool): Whether it is a product: autocast casts all of its arguments.
        casts (bool): Whether what it saves of its own may be an argument in another precision.
        saves_again (bool): Whether what it saves of its own is made again with its outputs.
        writes (bool): Whether it writes into its first argument.
        instead (Callable, optional): What computes the same without writing.
    """

    level: str | None = None
    is_view: bool = False
    is_random: bool = False
    is_relu: bool = False
    of_weights: bool = False
    lowers: bool = False
    casts: bool = False
    saves_again: bool = False
    writes: bool = False
    instead: Callable | None = None


# Makes a weight of parameters.
AS_ONE = Kind(ALWAYS, of_weights=True, saves_again=True)
# Looks at a tensor, and makes none.
LOOKS = Kind()


def _table() -> dict[Any, Kind]:
    table: dict[Any, Kind] = {}

    def enter(names: str | Iterable[str], **what) -> None:
        for name in names.split() if isinstance(names, str) else names:
            table.update(dict.fromkeys(_functions(name), Kind(**what)))

    for names in (_ELEMENTWISE, _COPIES, 'normalize'):
        enter(names, level=ALWAYS, of_weights=True)
    enter(_NORMS, level=ALWAYS, of_weights=True, casts=True)
    enter(_VIEWS, level=ALWAYS, of_weights=True, is_view=True)
    enter(_RANDOM, level=ALWAYS, is_random=True)
    enter('relu', level=ALWAYS, of_weights=True, is_relu=True)
    enter(_RESAMPLING, level='resampling')
    enter('softmax log_softmax', level='softmax', casts=True)
    enter(_PRODUCTS, lowers=True, casts=True)
    enter(_PRODUCTS_OF_ATTENTION, level='attention', lowers=True, casts=True)
    enter(_ATTENTION, level='attention', is_random=True, saves_again=True)
    table[as_one] = AS_ONE
    table[drop_and_map] = Kind('low_rank', is_random=True)
    table[map_down] = Kind('low_rank', lowers=True, casts=True)
    for name in _OF_WEIGHTS.split():
        for function in _functions(name):
            table[function] = replace(table.get(function, Kind()), of_weights=True)
    for name in _PROPERTIES:
        table[getattr(Tensor, name).__get__] = Kind(ALWAYS, of_weights=True, is_view=True)
    return table


def _functions(name: str) -> list:
    return [getattr(place, name) for place in _PLACES if hasattr(place, name)]


_TABLE = _table()


def kind_of(function) -> Kind:
    """Return what is known of a function that a mode sees."""
    kind = _TABLE.get(function)
    if kind is None:
        kind = _TABLE[function] = _kind_by_name(function)
    return kind


def _kind_by_name(function) -> Kind:
    # Overloads of torch.ops are called as add_.Tensor.
    name = getattr(function, '__name__', '').split('.')[0]
    if name == '__get__' or name in ('size', 'dim', 'numel', 'stride', 'item', 'tolist', '__len__'):
        return LOOKS
    if name in _WRITES:
        return Kind(writes=True)
    if name in _I_OPERATORS:
        instead = getattr(Tensor, _I_OPERATORS[name])
        return replace(_TABLE[instead], writes=True, instead=instead)
    if name.endswith('_') and not name.endswith('__') and name not in _NO_WRITES:
        instead = getattr(Tensor, name[:-1], None)
        known = _TABLE.get(instead)
        if known is None or known.level is None or known.is_view or known.is_random:
            return Kind(writes=True)
        return replace(known, writes=True, instead=instead)
    return Kind()


def draws(function: Callable, args: Sequence, kwargs: Mapping) -> bool:
    """Return whether a function that may draw random numbers does, called so."""
    if 'attention' in function.__name__:
        return bool(kwargs.get('training', True))
    if function is drop_and_map:
        return True
    probability = kwargs.get('p', args[1] if len(args) > 1 else 0.5)
    return bool(probability and kwargs.get('training', args[2] if len(args) > 2 else True))


def moves_statistics(function: Callable, args: Sequence, kwargs: Mapping) -> bool:
    """Return whether a function is a norm in training, which moves its statistics."""
    name = getattr(function, '__name__', '')
    if name not in ('batch_norm', 'instance_norm'):
        return False
    return bool(kwargs.get('training', kwargs.get('use_input_stats', (*args, *[True] * 6)[5])))


def waits(function: Callable, tensors: Sequence[Tensor]) -> bool:
    """Return whether calling a function again would wait for a GPU: its size is on it."""
    name = getattr(function, '__name__', '')
    if name == '__getitem__':
        return any(tensor.dtype is torch.bool for tensor in tensors[1:])
    return name == 'repeat_interleave' and len(tensors) > 1


def is_ours(function: Callable) -> bool:
    """Return whether a function, or the adapter whose method it is, is one of this package."""
    owner = getattr(function, '__self__', None)
    module = function.__module__ if owner is None else type(owner).__module__
    return module.partition('.')[0] == __name__.partition('.')[0]
