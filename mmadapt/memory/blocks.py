"""Which modules are recomputed as one piece each."""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from ..errors import UserError
from .matching import class_names, find_modules


def find_blocks(model: nn.Module, patterns: list[str], every: int = 1) -> list[nn.Module]:
    """Return the blocks that ``memory.checkpoint`` means.

    A list of modules means those that are in it; within a block no other is one.

    Args:
        model (nn.Module): The model, not wrapped.
        patterns (list[str]): As :func:`~mmadapt.memory.matching.find_modules` takes them.
        every (int): Only every n-th block within each list, or other parent, from the first on.

    Returns:
        list[nn.Module]: The blocks, in the order of the model.

    Raises:
        UserError: A pattern means nothing, the whole model, or what is never called; or ``every``
            leaves out none.
    """
    found: dict[nn.Module, str] = {}
    for pattern in patterns:
        hits = find_modules(model, [pattern], 'memory.checkpoint')
        blocks = dict(pair for name, module in hits.items() for pair in recomputable(module, name))
        whole = model in hits.values()
        if whole or not blocks:
            what = 'the whole model' if whole else f'{[*hits]}, which are never called'
            raise UserError(
                f'memory.checkpoint: {pattern!r} means {what}; name the blocks that it '
                'consists of, for instance by their class'
            )
        found |= blocks
    siblings: dict[str, list[nn.Module]] = {}
    for block in outermost(model, set(found)):
        siblings.setdefault(found[block].rpartition('.')[0], []).append(block)
    chosen = [block for blocks in siblings.values() for block in blocks[::every]]
    if every > 1 and len(chosen) == sum(map(len, siblings.values())):
        raise UserError(
            f'memory.every={every} leaves out none: the blocks that memory.checkpoint '
            'names are in no list of several; leave it out, or name others'
        )
    return chosen


def outermost(model: nn.Module, blocks: set[nn.Module]) -> list[nn.Module]:
    """Return those of ``blocks`` that are in no other one, in the order of the model."""
    inner = {m for block in blocks for m in block.modules() if m is not block}
    return [m for m in model.modules() if m in blocks and m not in inner]


def recomputable(module: nn.Module, name: str) -> Iterator[tuple[nn.Module, str]]:
    """Yield what :func:`called` does, but nothing whose forward a training step passes by.

    Detectors call ``roi_head.loss``, and attention reads the weight of its ``out_proj``.

    Args:
        module (nn.Module): The module.
        name (str): Its name; each is yielded with its own.
    """
    for block, full_name in called(module, name):
        if not isinstance(
            block, NonDynamicallyQuantizableLinear
        ) and 'BaseRoIHead' not in class_names(block):
            yield block, full_name


def called(module: nn.Module, name: str) -> Iterator[tuple[nn.Module, str]]:
    """Yield a module, or those in it if it is a list or another one without a forward.

    Args:
        module (nn.Module): The module.
        name (str): Its name; each is yielded with its own.
    """
    if type(module).forward is not nn.Module.forward:
        yield module, name
        return
    for child, inner in module.named_children():
        yield from called(inner, f'{name}.{child}')
