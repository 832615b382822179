"""A copy of the model in every process, gradients averaged between them."""

from mmengine._strategy import DDPStrategy as StockStrategy
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from torch import nn

from .lifecycle import AdaptingStrategy
from .registry import STRATEGIES


@STRATEGIES.register_module()
class DDPStrategy(AdaptingStrategy, StockStrategy):
    """Distributed data parallel training, on GPUs or on the processes of a CPU.

    Args:
        model_wrapper (dict, optional): Config of the wrapper. Defaults to
            ``MMDistributedDataParallel`` without broadcasting buffers.
        sync_bn (str, optional): ``'torch'`` or ``'mmcv'``: which synchronised BatchNorm to use.
        kwargs: What every strategy takes.
    """

    def place(self, model: nn.Module) -> nn.Module:
        """Convert the norms as asked for and move the model to the device."""
        model = self.convert_model(model)
        if get_device() == 'cpu':
            model = revert_sync_batchnorm(model)  # a synchronised norm does not run there
        return model.to(get_device())

    def wrap(self, model: nn.Module) -> nn.Module:
        """Wrap the model for distribution, once anything in it is trained."""
        if not any(p.requires_grad for p in model.parameters()):
            return model  # DDP refuses it, and there is nothing to average
        sync_bn, self.sync_bn = self.sync_bn, None  # done in `place`; frozen norms stay
        try:
            return self._wrap_model(model)
        finally:
            self.sync_bn = sync_bn
