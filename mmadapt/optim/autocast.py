"""Mixed precision on CPUs and GPUs, in bfloat16 or float16.

MMEngine's ``AmpOptimWrapper`` needs an accelerator, knows only bfloat16 on a CPU, and scales the
loss in bfloat16 too, which has the range of float32 and needs no scale.
"""

import logging
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from ..errors import UserError
from ..values import check_one_of, is_number

_DTYPES = dict(bfloat16=torch.bfloat16, float16=torch.float16)
# From 2**16 this many halvings lead far below every scale that has ever been of use.
_HOPELESS = 50


def autocast_dtype() -> torch.dtype:
    """Return bfloat16 where this device computes in it, float16 elsewhere."""
    # `including_emulation`: a GPU of 2018 says that it has bfloat16, and takes ten times as long.
    if get_device() == 'cuda' and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(AmpOptimWrapper):
    """An optimizer whose losses are computed under autocast, over float32 parameters.

    Accumulation, clipping and the state dict are those of ``AmpOptimWrapper``. In float16 the loss
    is scaled, and steps with infinite gradients are skipped and counted: ``skipped_steps`` in the
    log. In bfloat16 nothing is scaled or skipped.

    Args:
        dtype (str or torch.dtype, optional): ``'bfloat16'`` or ``'float16'``. Defaults to what
            :func:`autocast_dtype` returns.
        loss_scale (str, float or dict): In float16, as for ``AmpOptimWrapper``: ``'dynamic'``, a
            fixed scale, or arguments of ``torch.amp.GradScaler``. Without effect in bfloat16.
            Defaults to ``'dynamic'``.
        kwargs: What ``OptimWrapper`` takes: ``optimizer``, ``accumulative_counts``, ``clip_grad``.

    Raises:
        UserError: An argument is none of these, or this device does not compute in ``dtype``.
    """

    def __init__(
        self,
        dtype: str | torch.dtype | None = None,
        loss_scale: str | float | dict = 'dynamic',
        **kwargs,
    ) -> None:
        # Not that of AmpOptimWrapper, which refuses a CPU.
        super(AmpOptimWrapper, self).__init__(**kwargs)
        self.cast_dtype = _parse(dtype)
        self._scale_update_param = None
        scale = {}
        if isinstance(loss_scale, dict):
            scale = loss_scale
        elif is_number(loss_scale) and loss_scale > 0:
            self._scale_update_param = float(loss_scale)
            scale = dict(init_scale=float(loss_scale))
        elif loss_scale != 'dynamic':
            raise UserError(
                "optim_wrapper.loss_scale must be 'dynamic', a positive number or a "
                f'dict of arguments of torch.amp.GradScaler, got {loss_scale!r}'
            )
        try:
            self.loss_scaler = torch.amp.GradScaler(
                get_device(), enabled=self.cast_dtype == torch.float16, **scale
            )
        except TypeError as error:
            raise UserError(
                'optim_wrapper.loss_scale: torch.amp.GradScaler takes init_scale, '
                'growth_factor, backoff_factor and growth_interval, got '
                f'{dict(scale)}'
            ) from error
        self.skipped_steps = 0
        self._skipped_in_a_row = 0

    def step(self, **kwargs) -> None:
        """Clip, and make a step unless a gradient is infinite.

        Args:
            kwargs: What ``torch.optim.Optimizer.step`` takes.

        Raises:
            UserError: No step has been made for long: gradients are infinite at any loss scale.
        """
        if not self.loss_scaler.is_enabled():
            super(AmpOptimWrapper, self).step(**kwargs)
            return
        self.loss_scaler.unscale_(self.optimizer)
        found = self.loss_scaler._found_inf_per_device(self.optimizer)
        skipped = any(value.item() for value in found.values())
        if self.clip_grad_kwargs and not skipped:
            self._clip_grad()
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update(self._scale_update_param)
        self._count(skipped)

    def _count(self, skipped: bool) -> None:
        self.skipped_steps += skipped
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if skipped else 0
        self.message_hub.update_scalar('train/skipped_steps', self.skipped_steps)
        if self._skipped_in_a_row == _HOPELESS:
            raise UserError(
                f'{_HOPELESS} steps in a row have infinite gradients in float16, down to a loss '
                f'scale of {self.loss_scaler.get_scale():.1e}; compute in bfloat16 '
                "(optim_wrapper.dtype='bfloat16'), or name what needs float32 in "
                'memory.fp32_modules'
            )

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from the state of this or another optimizer wrapper.

        A run in float16 may go on from one that scaled no loss, at its initial scale.

        Args:
            state_dict (dict): What :meth:`state_dict` returned.
        """
        state_dict = dict(state_dict)
        if self.loss_scaler.is_enabled() and not state_dict.get('loss_scaler'):
            state_dict.pop('loss_scaler', None)
            print_log(
                f'the checkpoint has no loss scale: it starts at {self.loss_scaler.get_scale():g}',
                'current',
                logging.WARNING,
            )
        super().load_state_dict(state_dict)

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast, and leave out what gradient accumulation needs no synchronization for.

        Args:
            model (nn.Module): The model.
        """
        with (
            super(AmpOptimWrapper, self).optim_context(model),
            torch.autocast(get_device(), self.cast_dtype),
        ):
            yield


def _parse(dtype: str | torch.dtype | None) -> torch.dtype:
    if dtype is None:
        return autocast_dtype()
    name = str(dtype).removeprefix('torch.')
    check_one_of(
        'optim_wrapper.dtype',
        name,
        [*_DTYPES],
        "; without autocast: optim_wrapper.type='OptimWrapper'",
    )
    if name == 'bfloat16' and autocast_dtype() == torch.float16:
        raise UserError(
            f'optim_wrapper.dtype: this {torch.cuda.get_device_name()} does not '
            "compute in bfloat16; take 'float16'"
        )
    return _DTYPES[name]
