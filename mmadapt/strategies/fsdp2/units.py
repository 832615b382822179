"""Which modules of a model are gathered and freed as one piece each."""

from collections import defaultdict
from collections.abc import Iterator

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from ...errors import UserError
from ...memory.blocks import called
from ...memory.matching import find_modules
from ...peft.read_layers import layers_read

WHERE = 'strategy.shard'


def find_units(model: nn.Module, patterns: list[str] | None) -> list[str]:
    """Return the names of the modules that are units; what is in none of them is one more.

    Args:
        model (nn.Module): The model, not wrapped.
        patterns (list[str], optional): As :func:`~mmadapt.memory.matching.find_modules` takes them;
            a list of modules means those that are in it. None for :func:`repeated_blocks`.

    Returns:
        list[str]: Names, in the order of the model.

    Raises:
        UserError: A pattern means nothing, or what cannot be a unit.
    """
    read = set(layers_read(model))
    if patterns is None:
        chosen = {block for block in repeated_blocks(model) if _why_not(model, block, read) is None}
    else:
        chosen = {unit for pattern in patterns for unit in _meant(model, pattern, read)}
    return [name for name, module in model.named_modules() if module in chosen]


def _meant(model: nn.Module, pattern: str, read: set[nn.Module]) -> list[nn.Module]:
    hits = find_modules(model, [pattern], WHERE)
    units = {
        unit: name
        for hit, module in hits.items()
        for unit, name in called(module, hit)
        if any(True for _ in unit.parameters())
    }
    if not units:
        raise UserError(
            f'{WHERE}: {pattern!r} means {[*hits][0]}, which has no parameters or is never called'
        )
    for unit, name in units.items():
        reason = _why_not(model, unit, read)
        if reason is not None:
            raise UserError(f'{WHERE}: {pattern!r} means {name or "the whole model"}, {reason}')
    return list(units)


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """Return the blocks that a model is built of by repetition: Swin's, a transformer's layers.

    They are several of one class in one list. Of blocks within blocks it is the inner ones if most
    parameters are in them. The heads of dense detectors have none: their layers run once for every
    level of the feature pyramid.

    Args:
        model (nn.Module): The model, not wrapped.
    """
    repeated = set()
    for parent in model.modules():
        if type(parent).forward is nn.Module.forward or isinstance(parent, nn.Sequential):
            alike = defaultdict(list)
            for child in parent.children():
                alike[type(child)].append(child)
            for cls, children in alike.items():
                if len(children) > 1 and not cls.__module__.startswith('torch.nn.'):
                    repeated.update(children)
    return list(_blocks(model, repeated, set()))


def _blocks(
    module: nn.Module, repeated: set[nn.Module], seen: set[nn.Module]
) -> Iterator[nn.Module]:
    if module in seen or hasattr(module, 'forward_single'):
        return
    seen.add(module)
    inner = [block for child in module.children() for block in _blocks(child, repeated, seen)]
    own = _size(module)
    is_block = module in repeated and own and any(True for _ in module.children())
    if is_block and 2 * sum(map(_size, inner)) <= own:
        yield module
    else:
        yield from inner


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _why_not(model: nn.Module, unit: nn.Module, read: set[nn.Module]) -> str | None:
    """Return why a module's weights are needed where it is not being called."""
    if unit is model:
        return (
            'which is one piece in any case; name the blocks that it consists of, for instance '
            'by their class'
        )
    if hasattr(unit, 'loss'):
        return (
            'whose loss() detectors call, and not the module; name layers inside it, or leave '
            'it out'
        )
    if isinstance(unit, NonDynamicallyQuantizableLinear) or unit in read:
        return 'whose weight another module reads without calling it; name that module'
    inside = set(unit.modules())
    own = {p for module in inside for p in module._parameters.values() if p is not None}
    for name, module in model.named_modules():
        if module not in inside and not own.isdisjoint(module._parameters.values()):
            return f'which shares a weight with {name}; name a module that both are in'
    return None
