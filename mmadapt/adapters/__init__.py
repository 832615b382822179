"""The mathematics of the adapters: methods, and the layers that compute with another weight.

Nothing in here knows of runners or detectors. A method is one class registered in
:data:`ADAPTERS`; :func:`adapt_layer` swaps the class of a layer in place and adds the method's
tensors to it.
"""

from .dora import DoRA
from .layer import AdapterLayer, adapt_layer, adapted_layer, attach_adapter, write_tensors
from .layers import adapted_class, is_linear, register_layer, require_adapted_class
from .lora import LoRA
from .method import AdapterMethod
from .other_names import other_names
from .registry import ADAPTERS, build_method
from .ssf import SSF

__all__ = [
    'ADAPTERS',
    'AdapterLayer',
    'AdapterMethod',
    'DoRA',
    'LoRA',
    'SSF',
    'adapt_layer',
    'adapted_class',
    'adapted_layer',
    'attach_adapter',
    'build_method',
    'is_linear',
    'other_names',
    'register_layer',
    'require_adapted_class',
    'write_tensors',
]
