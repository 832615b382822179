"""A copy of the model in every process, gradients averaged between them."""

from collections.abc import Mapping
from types import MappingProxyType

from mmengine._strategy import DDPStrategy as StockStrategy
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from ..optim.zero_redundancy import is_zero_redundancy
from .lifecycle import AdaptingStrategy
from .processes import start_alone
from .registry import STRATEGIES


@STRATEGIES.register_module()
class DDPStrategy(AdaptingStrategy, StockStrategy):
    """Distributed data parallel training, on GPUs or on the processes of a CPU.

    Args:
        model_wrapper (dict, optional): Config of the wrapper. Defaults to
            ``MMDistributedDataParallel`` without broadcasting buffers.
        sync_bn (str, optional): ``'torch'`` or ``'mmcv'``: which synchronized BatchNorm to use.
        kwargs: What every strategy takes.
    """

    _offload = False
    sync_bn: str | None
    # What all processes have put together while the first one writes.
    _whole: Mapping = MappingProxyType({})

    def _setup_env(self, **kwargs) -> None:
        super()._setup_env(**kwargs)
        start_alone(self._offload)  # to test, for instance, what several processes have trained

    def place(self, model: nn.Module) -> nn.Module:
        """Convert the norms as asked for and move the model to the device."""
        model = self.convert_model(model)
        if get_device() == 'cpu':
            model = revert_sync_batchnorm(model)  # a synchronized norm does not run there
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

    def save_checkpoint(self, filename: str, *, save_optimizer: bool = True, **kwargs) -> None:
        """Write a checkpoint in the first process; to be called by all.

        Args:
            filename (str): The file.
            save_optimizer (bool): Whether to save the optimizer. Defaults to True.
            kwargs: What every strategy takes.
        """
        self._whole = self.gather(save_optimizer and hasattr(self, 'optim_wrapper'))
        super().save_checkpoint(filename, save_optimizer=save_optimizer, **kwargs)
        self._whole = {}

    def gather(self, save_optimizer: bool) -> dict:
        """Return what of a checkpoint takes all processes to get, as ``model`` and ``optimizer``.

        Args:
            save_optimizer (bool): Whether there is to be an optimizer in it.
        """
        sharded = save_optimizer and is_zero_redundancy(self.optim_wrapper)
        return dict(optimizer=self.optim_wrapper.state_dict()) if sharded else {}

    def model_state_dict(self) -> dict[str, Tensor]:
        """Return the whole model's tensors."""
        return self._whole['model'] if 'model' in self._whole else super().model_state_dict()

    def optim_state_dict(self) -> dict:
        """Return the whole optimizer's state."""
        return (
            self._whole['optimizer'] if 'optimizer' in self._whole else super().optim_state_dict()
        )
