"""One process and one device."""

from mmengine.device import get_device
from torch import nn

from .lifecycle import AdaptingStrategy
from .registry import STRATEGIES


@STRATEGIES.register_module()
class SingleDeviceStrategy(AdaptingStrategy):
    """Train on one device."""

    def place(self, model: nn.Module) -> nn.Module:
        """Turn synchronized norms into ordinary ones and move the model to the device."""
        return self.convert_model(model).to(get_device())

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model as it is."""
        return model
