"""LoRA for mmcv's subclasses of Linear and Conv2d.

They differ from torch's only in how they treated empty inputs before torch 1.5, but DETR's heads
are made of them, and ``isinstance`` must keep holding.
"""

from mmcv.cnn.bricks.wrappers import Conv2d, Linear

from .lora import LoRAConv2d, LoRALinear


class LoRAMMCVLinear(LoRALinear, Linear):
    """mmcv's Linear with a LoRA branch."""

    stock_class = Linear


class LoRAMMCVConv2d(LoRAConv2d, Conv2d):
    """mmcv's Conv2d with a LoRA branch."""

    stock_class = Conv2d


LORA_CLASSES = {Linear: LoRAMMCVLinear, Conv2d: LoRAMMCVConv2d}
