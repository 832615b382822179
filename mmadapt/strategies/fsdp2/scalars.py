"""Parameters without dimensions, such as the scales of FCOS: there are no rows to shard."""

from collections import defaultdict
from typing import Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def give_a_dimension(model: nn.Module) -> list[str]:
    """Let parameters without dimensions have one, of one element; modules see them without it.

    What they see matters: a scale without dimensions does not make a bfloat16 tensor float32.

    Args:
        model (nn.Module): The model.

    Returns:
        list[str]: Their names, all of them where a parameter has several.
    """
    owners: dict[nn.Module, list[str]] = defaultdict(list)
    scalars = []
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.dim() == 0:
                scalars.append(f'{prefix}.{name}'.lstrip('.'))
                if name not in owners[module]:
                    owners[module].append(name)
    for module, names in owners.items():
        cls = type(module)
        module.__class__ = type(
            cls.__name__, (cls,), {name: _without_dimension(name) for name in names}
        )
        for name in names:
            own: dict[str, Any] = module._parameters
            parameter = own[name]
            parameter.data = parameter.data.view(1)
    return scalars


def trained_scalars(model: nn.Module) -> list[str]:
    """Return the names of the parameters without dimensions that are trained.

    Args:
        model (nn.Module): The model, not sharded.
    """
    return [name for name, p in model.named_parameters() if p.requires_grad and p.dim() == 0]


def _without_dimension(name: str) -> property:
    def see(module: nn.Module) -> Tensor:
        own: dict[str, Any] = module._parameters
        parameter = own[name]
        return parameter if isinstance(parameter, DTensor) else parameter.view(())

    return property(see)
