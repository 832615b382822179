"""Frozen Linear layers in 4 or 8 bits: the bases of QLoRA, QDoRA and quantized SSF."""

from .convert import Packed, dense_digests, dequantize, pack, quantize, require_bitsandbytes
from .linear import QuantizedLinear
from .options import EightBit, FourBit, QuantOptions, parse_quant, quant_to_dict

__all__ = [
    'EightBit',
    'FourBit',
    'Packed',
    'QuantOptions',
    'QuantizedLinear',
    'dense_digests',
    'dequantize',
    'pack',
    'parse_quant',
    'quant_to_dict',
    'quantize',
    'require_bitsandbytes',
]
