"""DeepSpeed's engine and optimizer, as MMEngine's loops, hooks and schedulers use them."""

from contextlib import contextmanager
from typing import Any

import torch
from mmengine._strategy.deepspeed import MMDeepSpeedEngineWrapper
from mmengine.dist import broadcast
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.optim import Optimizer

from ...errors import UserError
from .state import gather_optimizer, load_optimizer

# As many steps in a row as this with gradients that are not finite: that is no single batch.
_HOPELESS = 50


def initialize(model: nn.Module, optimizer: Optimizer, config: dict):
    """Return DeepSpeed's engine of a model.

    Args:
        model (nn.Module): The model, adapted and loaded, on its device.
        optimizer (torch.optim.Optimizer): An optimizer over what is trained of it.
        config (dict): DeepSpeed's configuration.

    Returns:
        deepspeed.DeepSpeedEngine: The engine.

    Raises:
        UserError: The configuration has something that DeepSpeed does not know.
    """
    import deepspeed
    from pydantic import ValidationError

    with _broadcastable_scalars(model, config['zero_optimization']['stage']):
        try:
            return deepspeed.initialize(model=model, optimizer=optimizer, config=config)[0]
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(
                f'strategy.zero_optimization.{".".join(map(str, first["loc"]))}: '
                f'{first["msg"]}, got {first["input"]!r}'
            ) from None


@contextmanager
def _broadcastable_scalars(model: nn.Module, stage: int):
    """Let a model have parameters without dimensions, such as the scales of FCOS.

    DeepSpeed broadcasts parameters as bytes, as which such a tensor cannot be viewed.
    """
    scalars: list[Any] = [p for p in model.parameters() if p.dim() == 0]
    for parameter in scalars:
        if stage == 3:
            parameter.data = parameter.data.view(1)
        else:
            broadcast(parameter.data)
            parameter.ds_optim_param = True  # DeepSpeed's mark of what is not to be broadcast
    try:
        yield
    finally:
        for parameter in scalars:
            if stage != 3:
                del parameter.ds_optim_param
            elif hasattr(parameter, 'ds_shape'):  # DeepSpeed has sharded it
                parameter.ds_shape = torch.Size([])
            else:
                parameter.data = parameter.data.view(())


class DeepSpeedModel(MMDeepSpeedEngineWrapper):
    """A model trained by an engine, and evaluated as under DDP: as it is, without autocast."""

    def val_step(self, data: dict | tuple | list) -> list:
        """Return the predictions of the model for a batch."""
        return self.module.val_step(data)

    def test_step(self, data: dict | tuple | list) -> list:
        """Return the predictions of the model for a batch."""
        return self.module.test_step(data)


class DeepSpeedOptimWrapper(OptimWrapper):
    """An optimizer whose gradients, clipping and steps are an engine's.

    When gradients are applied, and by what a loss is divided until then, is what ``OptimWrapper``
    says, to the last, shorter accumulation. So is the state dict, which is that of the optimizer
    without DeepSpeed: a run may go on with or without it, on any number of processes.

    Args:
        kwargs: What ``OptimWrapper`` takes.

    Attributes:
        pending (bool): Whether there are gradients that no step has been made with yet.
    """

    engine: Any = None
    base_param_settings: dict | None

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self._skipped_in_a_row = 0
        self.pending = False

    def attach(self, engine, groups: list) -> None:
        """Leave the optimizer to an engine.

        Args:
            engine (deepspeed.DeepSpeedEngine): The engine.
            groups (list[list[nn.Parameter]]): The parameters of each group of the optimizer, which
                has the engine's own in their place by now.
        """
        self.engine, self.groups = engine, groups
        self.optimizer = engine.optimizer

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Do nothing: the engine has its own autocast, and knows when to average gradients.

        Args:
            model (nn.Module): The model.
        """
        yield

    @property
    def defaults(self) -> dict:
        """dict: The settings that the optimizer was built with; momentum schedulers look there."""
        return (self.optimizer if self.engine is None else self.engine.basic_optimizer).defaults

    def backward(self, loss: Tensor, **kwargs) -> None:
        """Add the gradients of a loss; average them over the processes where a step follows."""
        self._inner_count += 1
        self.pending = not self.should_update()
        self.engine.set_gradient_accumulation_boundary(not self.pending)
        self.engine.backward(loss, scale_wrt_gas=False)

    def step(self, **kwargs) -> None:
        """Clip and make a step.

        Raises:
            UserError: No step has been made for long, because gradients were never all finite.
        """
        self.engine.step()
        if self.engine.was_step_applied():
            self._skipped_in_a_row = 0
            if self.clip_grad_kwargs:
                self.message_hub.update_scalar(
                    'train/grad_norm', float(self.engine.get_global_grad_norm())
                )
            return
        self._skipped_in_a_row += 1
        self.message_hub.update_scalar('train/skipped_steps', self.engine.skipped_steps)
        if self._skipped_in_a_row == _HOPELESS:
            raise UserError(
                f'the gradients of {_HOPELESS} steps in a row are not finite, and '
                'DeepSpeed has made no step; lower optim_wrapper.optimizer.lr, set '
                'optim_wrapper.clip_grad, or name what needs float32 in '
                'memory.fp32_modules'
            )

    def zero_grad(self, **kwargs) -> None:
        """Do nothing: a step of the engine leaves no gradients."""

    def state_dict(self) -> dict:
        """Return the state of the whole optimizer; to be called by all processes."""
        state = gather_optimizer(self.engine.optimizer, self.groups)
        if self.base_param_settings is not None:
            state['base_param_settings'] = self.base_param_settings
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from the state of this or an unsharded optimizer; to be called by all processes.

        Args:
            state_dict (dict): What :meth:`state_dict` returned.
        """
        state = dict(state_dict)
        self.base_param_settings = state.pop('base_param_settings', self.base_param_settings)
        load_optimizer(self.engine.optimizer, self.groups, state)
