"""The mathematics of the adapters: methods and the layers they turn stock layers into.

Nothing in here knows of runners or detectors. A method is one class registered in
:data:`ADAPTERS`; it swaps the class of a layer in place and adds its tensors to it.
"""

from .layer import AdapterLayer
from .lora import LoRA, LoRAConv2d, LoRALinear
from .method import AdapterMethod
from .registry import ADAPTERS, build_method

__all__ = [
    'ADAPTERS', 'AdapterLayer', 'AdapterMethod', 'LoRA', 'LoRAConv2d', 'LoRALinear', 'build_method'
]
