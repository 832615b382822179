"""What every adapted layer is: a stock layer with another class and a few more tensors.

Swapping ``layer.__class__`` keeps the module object, so its place in the model, its aliases (a
conv that several levels share), ``isinstance`` checks and the keys of its state dict stay. The
adapter's tensors are raw parameters of the layer itself, where no ``init_weights`` loop, which
looks for submodules, finds them.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from ..errors import UserError


class AdapterLayer:
    """Mixin of all adapted layers; stands before the stock class in the bases.

    The stock class must be a *direct* base: MMEngine's weight initialisers select layers by their
    class name and the names of their direct bases.

    Attributes:
        stock_class (type): The class the layer had, to which :meth:`detach_adapter` returns.
        adapter_names (tuple[str]): The names of the tensors that the method adds.
        adapter_settings (tuple[str]): The names of the plain attributes that it adds.
    """

    stock_class: ClassVar[type]
    adapter_names: ClassVar[tuple[str, ...]] = ()
    adapter_settings: ClassVar[tuple[str, ...]] = ()

    def merged_weight(self) -> Tensor:
        """Return the weight of the stock layer that computes the same, shaped like ``weight``."""
        raise NotImplementedError

    def merged_bias(self) -> Tensor | None:
        """Return the bias of the stock layer that computes the same."""
        return self.bias

    def detach_adapter(self) -> dict:
        """Turn the layer into its stock class again.

        Returns:
            dict: What :meth:`attach_adapter` takes to undo it.
        """
        names = self.adapter_names + self.adapter_settings
        adapter = dict(layer_class=type(self), attributes={n: getattr(self, n) for n in names})
        for name in names:
            delattr(self, name)
        self.__class__ = self.stock_class
        return adapter

    @staticmethod
    def attach_adapter(layer: nn.Module, adapter: dict) -> None:
        """Give a layer an adapter back that :meth:`detach_adapter` took from it."""
        layer.__class__ = adapter['layer_class']
        for name, value in adapter['attributes'].items():
            setattr(layer, name, value)

    def merge_adapter(self) -> dict:
        """Write the adapted weight and bias into the layer and make it a stock layer again.

        Returns:
            dict: What :meth:`attach_adapter` takes.
        """
        with torch.no_grad():
            weight, bias = self.merged_weight(), self.merged_bias()
            self.weight.data = weight.detach().to(self.weight.dtype)
            if bias is not None and bias is not self.bias:
                self.bias.data = bias.detach().to(self.bias.dtype)
        return self.detach_adapter()

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Refuse a new weight, such as ``fuse_conv_bn`` puts into a convolution.

        Raises:
            UserError: A frozen weight or bias is replaced by a trainable one.
        """
        old = self._parameters.get(name)
        if name in ('weight', 'bias') and old is not None and not old.requires_grad \
                and param is not None and param.requires_grad:
            raise UserError(f'the {name} of an adapted {self.stock_class.__name__} is being '
                            'replaced by another, which its adapter does not fit; call '
                            'mmadapt.merge(model) before such an operation')
        super().register_parameter(name, param)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys,
                              unexpected_keys, error_msgs):
        # A stock checkpoint has no adapter; that is no fault of it. One that holds some of this
        # layer's tensors and lacks others is reported as usual.
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys,
                                      unexpected_keys, error_msgs)
        own = [prefix + name for name in self.adapter_names]
        if all(key in missing_keys for key in own):
            for key in own:
                missing_keys.remove(key)
