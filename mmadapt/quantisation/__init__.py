"""Frozen Linear layers in 4 or 8 bits: the bases of QLoRA, QDoRA and quantised SSF."""

from .convert import Packed, dense_digests, dequantise, pack, quantise, require_bitsandbytes
from .linear import QuantisedLinear
from .options import EightBit, FourBit, QuantOptions, parse_quant, quant_to_dict

__all__ = [
    'EightBit', 'FourBit', 'Packed', 'QuantOptions', 'QuantisedLinear', 'dense_digests',
    'dequantise', 'pack', 'parse_quant', 'quant_to_dict', 'quantise', 'require_bitsandbytes'
]
