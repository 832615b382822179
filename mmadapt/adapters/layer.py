"""What every adapted layer is: a stock layer with another class and a few more tensors.

Swapping ``layer.__class__`` keeps the module object, so its place in the model, its aliases (a
conv that several levels share), ``isinstance`` checks and the keys of its state dict stay. The
adapter's tensors are raw parameters of the layer itself, where no ``init_weights`` loop, which
looks for submodules, finds them.
"""

from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ..errors import UserError
from .as_one import as_one
from .method import AdapterMethod


class StockView:
    """What a stock forward reads of a layer, with some of it replaced.

    Plain Python, so that ``torch.compile`` follows it, which it does not do for modules that are
    made while it traces.

    Args:
        layer (nn.Module): The layer.
        replaced (dict): Attributes that it is to have instead of its own, by name.
    """

    def __init__(self, layer: nn.Module, replaced: dict[str, Any]) -> None:
        self._layer = layer
        self._replaced = replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced[name] if name in self._replaced else getattr(self._layer, name)


if TYPE_CHECKING:
    _Layer = nn.Module  # what these mixins are mixed into
else:
    _Layer = object


class AdapterLayer(_Layer):
    """Mixin of all adapted layers; stands before the stock class in the bases.

    The stock class must be a *direct* base: MMEngine's weight initializers select layers by their
    class name and the names of their direct bases.

    Attributes:
        stock_class (type): The class the layer had, to which :meth:`detach_adapter` returns.
        adapter (AdapterMethod): What makes the layer's weight another one.
        adapter_names (tuple[str]): The names of the tensors that it added to the layer.
        standardizes (bool): Whether the layer standardizes the rows of its weight.
        method_options (frozenset[str]): Which of a method's ``attention``, ``dropout`` and
            ``compute`` it reads.
    """

    stock_class: ClassVar[type[nn.Module]]
    method_options: ClassVar[frozenset[str]] = frozenset()
    standardizes: ClassVar[bool] = False
    adapter: AdapterMethod
    adapter_names: tuple[str, ...]

    def weight_parts(self) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Return the weights that are adapted, each with its bias, as the method sees them.

        Returns:
            dict: By a suffix of the adapter's tensors; ``''`` for a layer of one weight.
        """
        raise NotImplementedError

    def merged_tensors(self) -> dict[str, Tensor]:
        """Return the stock parameters of the stock layer that computes the same, by name."""
        raise NotImplementedError

    def adapter_tensors(self, part: str = '') -> dict[str, Tensor]:
        """Return the tensors of one of :meth:`weight_parts`, by the names the method knows."""
        suffix = f'_{part}' if part else ''
        return {
            name: getattr(self, name + suffix)
            for name in self.adapter.tensor_names
            if name + suffix in self.adapter_names
        }

    def step_tensors(self, part: str = '') -> Mapping[str, Tensor]:
        """Return :meth:`adapter_tensors` as this step computes with them: training drops some."""
        tensors = self.adapter_tensors(part)
        return self.adapter.drop_channels(tensors) if self.training else tensors

    @property
    def drops_elements(self) -> bool:
        """bool: Whether this step drops elements of the input of what is added."""
        drops = self.training and self.adapter.dropout > 0
        return drops and self.adapter.dropout_mode == 'element'

    def adapted(
        self, part: str, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return what the adapter makes of one of :meth:`weight_parts`."""
        return as_one(self.adapter.adapt, weight, bias, self.adapter_tensors(part))

    def reset_adapter(self) -> None:
        """Set anew what starts from the weights, which have changed since it was set."""
        with torch.no_grad():
            for part, (weight, bias) in self.weight_parts().items():
                self.adapter.initialize(weight, bias, self.adapter_tensors(part))

    def merge_adapter(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Write what the adapter makes of the layer into it; it is a stock layer again.

        Returns:
            tuple: What :func:`write_tensors` and :func:`attach_adapter` take to undo it.
        """
        with torch.no_grad():
            merged = self.merged_tensors()
            kept = {name: attrgetter(name)(self).detach().clone() for name in merged}
            write_tensors(self, merged)
        return kept, self.detach_adapter()

    def detach_adapter(self) -> dict[str, Any]:
        """Turn the layer into its stock class again.

        Returns:
            dict: What :func:`attach_adapter` takes to undo it.
        """
        kept = dict(
            layer_class=type(self),
            adapter=self.adapter,
            tensors={name: getattr(self, name) for name in self.adapter_names},
        )
        for name in (*self.adapter_names, 'adapter', 'adapter_names'):
            delattr(self, name)
        self.__class__ = self.stock_class  # type: ignore[assignment]  # swapped, as said above
        return kept

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Refuse a new weight, such as ``fuse_conv_bn`` puts into a convolution.

        Args:
            name (str): The parameter's name.
            param (nn.Parameter, optional): The new one.

        Raises:
            UserError: The weight or bias is replaced, other than by loading a state dict.
        """
        if (
            name in ('weight', 'bias')
            and name in self._parameters
            and param is not self._parameters[name]
            and '_is_loading' not in self.__dict__
            and '_is_sharded' not in self.__dict__
        ):
            raise UserError(
                f'the {name} of an adapted {self.stock_class.__name__} is being '
                'replaced by another, which its adapter does not fit; call '
                'mmadapt.merge(model) before such an operation'
            )
        super().register_parameter(name, param)

    def expect_sharding(self) -> None:
        """Let the weights be exchanged from now on by parts of them, and for these by the whole."""
        self.__dict__['_is_sharded'] = True

    def __setattr__(self, name: str, value) -> None:
        # As `efficient_conv_bn_eval` does; the adapter would be dropped without a word.
        if name == 'forward':
            raise UserError(
                f'the forward of an adapted {self.stock_class.__name__} is being '
                'replaced by one that does not know its adapter; call '
                'mmadapt.merge(model) before such an operation'
            )
        super().__setattr__(name, value)

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ):
        # A stock checkpoint has no adapter; that is no fault of it. One that holds some of this
        # layer's tensors and lacks others is reported as usual.
        self.__dict__['_is_loading'] = True
        try:
            super()._load_from_state_dict(
                state_dict,
                prefix,
                local_metadata,
                strict,
                missing_keys,
                unexpected_keys,
                error_msgs,
            )
        finally:
            del self.__dict__['_is_loading']
        own = [prefix + name for name in self.adapter_names]
        if all(key in missing_keys for key in own):
            for key in own:
                missing_keys.remove(key)

    def extra_repr(self) -> str:
        """Return the stock layer's description and the method."""
        return ', '.join(filter(None, [super().extra_repr(), f'adapter={self.adapter}']))


def adapted_layer(model: nn.Module, name: str) -> AdapterLayer:
    """Return an adapted layer of a model by its name."""
    layer = model.get_submodule(name)
    assert isinstance(layer, AdapterLayer)
    return layer


def write_tensors(layer: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Give parameters of a layer, by dotted name, other values; the parameters stay."""
    for name, tensor in tensors.items():
        parameter = attrgetter(name)(layer)
        if tensor is not parameter:
            # Strides too: a model in channels_last stays so.
            parameter.data = torch.empty_like(parameter.data).copy_(tensor.detach())


def attach_adapter(
    layer: nn.Module,
    layer_class: type[AdapterLayer],
    adapter: AdapterMethod,
    tensors: dict[str, Tensor],
) -> None:
    """Make an adapted layer of a stock layer, in place.

    Args:
        layer (nn.Module): The layer; a convolution under several names is one layer.
        layer_class (type[AdapterLayer]): The class it gets.
        adapter (AdapterMethod): The method.
        tensors (dict[str, Tensor]): Its tensors for this layer, by attribute name.
    """
    layer.__class__ = layer_class
    adapted = cast(AdapterLayer, layer)
    adapted.adapter = adapter
    adapted.adapter_names = tuple(tensors)
    for name, tensor in tensors.items():
        if isinstance(tensor, nn.Parameter):
            adapted.register_parameter(name, tensor)
        else:
            adapted.register_buffer(name, tensor)


def adapt_layer(layer: nn.Module, layer_class: type[AdapterLayer], method: AdapterMethod) -> None:
    """Make an adapted layer of a stock layer, in place; it computes what it computed before."""
    attach_adapter(layer, layer_class, method, {})
    adapted = cast(AdapterLayer, layer)
    try:
        tensors = {
            f'{name}_{part}' if part else name: tensor
            for part, (weight, bias) in adapted.weight_parts().items()
            for name, tensor in method.create(weight, bias).items()
            if not (adapted.standardizes and name in method.row_scales)
        }
        if not tensors:
            raise UserError(
                f'{type(method).__name__} has nothing to train in a '
                f'{layer_class.stock_class.__name__} without a bias: it standardizes '
                'its weight; put it into peft.exclude'
            )
    except Exception:
        adapted.detach_adapter()
        raise
    attach_adapter(layer, layer_class, method, tensors)
