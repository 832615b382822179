"""Linear layers whose weight bitsandbytes quantizes. Imported where a model is quantized, only.

bitsandbytes' own layers are not used, only its functions: on a CPU its 4-bit layer rewrites its
weight in evaluation, with scales rounded to bfloat16, so that training goes on from another base
and whoever reads the weight then must know of it.
"""

import logging

import bitsandbytes
import torch
from bitsandbytes import functional
from torch import Tensor, nn

from ..errors import UserError
from .linear import QuantizedLinear
from .options import EightBit, FourBit

_BLOCK = 64  # weights that share a scale, as in the paper
_SCALE_BLOCK = 256  # scales that share a scale

# It says, at every product, that activations are rounded to 16 bits before they are to 8.
logging.getLogger('bitsandbytes.autograd._functions').addFilter(
    lambda record: 'inputs will be cast from' not in str(record.msg)
)


class Linear4bit(QuantizedLinear):
    """A Linear in 4 bits: ``weight`` holds two codes a byte."""

    scale_names = (
        'weight_absmax',
        'weight_absmax_scale',
        'weight_absmax_offset',
        'weight_absmax_codes',
    )
    options: FourBit

    @staticmethod
    def pack(weight: Tensor, options: FourBit) -> dict[str, Tensor]:
        """Return codes ``(ceil(out * in / 2), 1)`` and the largest value of each block."""
        codes, state = functional.quantize_4bit(
            weight.contiguous(),
            blocksize=_BLOCK,
            quant_type=options.type,
            compress_statistics=options.double_quant,
        )
        packed = dict(weight=codes, weight_absmax=state.absmax)
        if state.nested:
            packed.update(
                weight_absmax_scale=state.state2.absmax,
                weight_absmax_offset=state.offset,
                weight_absmax_codes=state.state2.code,
            )
        return packed

    def unpack(self, dtype: torch.dtype) -> Tensor:
        """Return the weight ``(out, in)``."""
        size = self.out_features * self.in_features
        state = functional.QuantState(
            # As one row: the kernel for CPUs lets blocks begin anew with each row, which is not
            # how they were made (it is off by as much as the weights where 64 does not divide in).
            shape=(1, size + size % 2),
            absmax=self.weight_absmax,
            blocksize=_BLOCK,
            dtype=dtype,
            quant_type=self.options.type,
        )
        if self.options.double_quant:
            state.nested, state.offset = True, self.weight_absmax_offset
            state.state2 = functional.QuantState(
                absmax=self.weight_absmax_scale,
                code=self.weight_absmax_codes,
                blocksize=_SCALE_BLOCK,
                dtype=torch.float32,
            )
        weight = functional.dequantize_4bit(self.weight, state)
        return weight.flatten()[:size].view(self.out_features, self.in_features)


class Linear8bit(QuantizedLinear):
    """A Linear in 8 bits: ``weight`` holds integers, or 16-bit weights to be quantized."""

    scale_names = ('weight_scale',)
    weight_scale: nn.Parameter
    options: EightBit

    @staticmethod
    def pack(weight: Tensor, options: EightBit) -> dict[str, Tensor]:
        """Return integers ``(out, in)`` and the largest value of each row ``(out, )``."""
        if options.has_fp16_weights:
            return dict(weight=weight.half())
        weight, scale = _to_int8(weight)
        return dict(weight=weight, weight_scale=scale)

    def unpack(self, dtype: torch.dtype) -> Tensor:
        """Return the weight ``(out, in)``, rounded to 8 bits."""
        weight, scale = self._integers()
        return functional.int8_vectorwise_dequant(weight, scale).to(dtype)

    def dense_weight(self) -> Tensor:
        """Return the weight ``(out, in)``: that of 16 bits if there is one."""
        if self.options.has_fp16_weights:
            return self.weight.to(self.dense_dtype)
        return super().dense_weight()

    def multiply(self, x: Tensor) -> Tensor:
        """Multiply integers on a GPU, floating-point numbers on a CPU."""
        if x.device.type == 'cpu' or not x.numel():
            return super().multiply(x)
        state = bitsandbytes.MatmulLtState()
        state.CB, state.SCB = self._integers()
        state.has_fp16_weights, state.threshold = False, self.options.threshold
        state.is_training = self.training
        output = bitsandbytes.matmul(x.reshape(-1, self.in_features), state.CB, state=state)
        return output.view(*x.shape[:-1], self.out_features)

    def _integers(self) -> tuple[Tensor, Tensor]:
        if self.options.has_fp16_weights:
            return _to_int8(self.weight)
        return self.weight, self.weight_scale


def layer_class(bits: int) -> type[QuantizedLinear]:
    """Return the class of a layer in that many bits."""
    return {4: Linear4bit, 8: Linear8bit}[bits]


def _to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    try:
        return functional.int8_vectorwise_quant(weight.half())[:2]
    except NotImplementedError:
        raise UserError(
            f'bitsandbytes {bitsandbytes.__version__} has no 8-bit weights on '
            f'{weight.device.type}; update it (pip install -U bitsandbytes) or write '
            'peft.quant.bits=4'
        ) from None


from . import adapted  # noqa: E402,F401  registers how these layers compute when they are adapted
