"""What an adapter method is to the rest of the package."""

from abc import ABC, abstractmethod

from torch import nn

from .layer import AdapterLayer


class AdapterMethod(ABC):
    """An adapter method: which layers it can adapt, and how it attaches to one.

    A third party adds a method by registering one subclass in
    :data:`~mmadapt.adapters.registry.ADAPTERS`. Its constructor's arguments are the keys of
    ``peft.method`` and are kept as attributes of the same names.
    """

    @abstractmethod
    def layer_class(self, layer: nn.Module) -> type[AdapterLayer] | None:
        """Return the class that ``layer`` would be swapped to, None if it is not supported."""

    @abstractmethod
    def attach(self, layer: nn.Module) -> None:
        """Swap the class of ``layer`` in place and give it the adapter's tensors.

        The adapted layer computes what ``layer`` computed until a tensor of it is changed.
        """

    @abstractmethod
    def extra_parameters(self, layer: nn.Module) -> int:
        """Return how many parameters the method adds to ``layer``."""

    @abstractmethod
    def to_dict(self) -> dict:
        """Return the config that builds this method again."""
