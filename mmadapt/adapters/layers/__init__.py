"""How each kind of layer computes with an adapted weight; a file for each kind or library.

A class of another library is only met where that library has been imported, and its file here is
imported no earlier.
"""

import sys
from importlib import import_module

from torch import nn

from ..layer import AdapterLayer
from . import attention, conv, embedding, linear, norm, transposed

_MODULES = (attention, conv, embedding, linear, norm, transposed)
_CLASSES = {cls.stock_class: cls for module in _MODULES for cls in module.CLASSES}
_LIBRARIES = {
    'mmcv.cnn': 'mmcv_cnn',
    'mmcv.ops': 'mmcv_ops',
    'timm.layers': 'timm_convs',
    'timm.layers.norm_act': 'timm_norms',
    'transformers.pytorch_utils': 'hugging_face',
    'transformers.models.falcon.modeling_falcon': 'falcon',
}


def register_layer(cls: type[AdapterLayer]) -> type[AdapterLayer]:
    """Register how layers of a class compute with another weight; to be used as a decorator.

    Args:
        cls (type[AdapterLayer]): A subclass of ``cls.stock_class`` too, which is the class of the
            layers, and of one of the classes here that says how they compute.

    Returns:
        type[AdapterLayer]: The class itself.
    """
    _CLASSES[cls.stock_class] = cls
    return cls


def adapted_class(layer: nn.Module) -> type[AdapterLayer] | None:
    """Return the class that a layer gets when it is adapted; None if there is none.

    Only exact classes count: a subclass may compute something else from its weight.
    """
    for library in [name for name in _LIBRARIES if name in sys.modules]:
        module = import_module(f'.{_LIBRARIES.pop(library)}', __name__)
        _CLASSES.update({cls.stock_class: cls for cls in module.CLASSES})
    if isinstance(layer, nn.Embedding) and layer.max_norm is not None:
        return None  # it writes into its table as it is read
    return _CLASSES.get(type(layer))


def require_adapted_class(layer: nn.Module) -> type[AdapterLayer]:
    """Return the class that a layer gets when it is adapted, of one that has been chosen for it."""
    cls = adapted_class(layer)
    assert cls is not None
    return cls


def is_linear(layer: nn.Module) -> bool:
    """Return whether a layer, adapted or not, is a linear map with a form, whatever its library."""
    cls = type(layer) if isinstance(layer, AdapterLayer) else adapted_class(layer)
    return cls is not None and issubclass(cls, linear.LinearLayer)
