"""What really arrives in a model when something is loaded into it."""

from torch import nn


class LoadedKeys:
    """Notes the tensors for which a loaded state dict has values of the right shape.

    MMEngine's loader calls no hook of the model as a whole, but those of each module.

    Args:
        model (nn.Module): The model; what is loaded into parts of it counts too.

    Attributes:
        keys (set[str]): State-dict keys of the model.
    """

    def __init__(self, model: nn.Module) -> None:
        self.keys: set[str] = set()
        self._handles = [self._watch(name, module) for name, module in model.named_modules()]

    def stop(self) -> None:
        """Note nothing more."""
        for handle in self._handles:
            handle.remove()

    def _watch(self, place: str, module: nn.Module):

        def note(state_dict, prefix, *_) -> None:
            for key, tensor in {**module._parameters, **module._buffers}.items():
                given = state_dict.get(prefix + key)
                if tensor is not None and given is not None and given.shape == tensor.shape:
                    self.keys.add(f'{place}.{key}'.lstrip('.'))

        return module._register_load_state_dict_pre_hook(note)
