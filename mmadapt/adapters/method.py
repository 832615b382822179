"""What an adapter method is to the rest of the package."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from ..norms import NORM_LAYERS
from ..values import check_list, check_one_of
from .affine import Affine, move_affine, move_into_bias, scale_rows

ATTENTION_PARTS = ('q', 'k', 'v', 'out')


class AdapterMethod(ABC):
    """A way to adapt weights: its tensors, and what they make of a weight.

    A third party adds a method by registering one subclass in
    :data:`~mmadapt.adapters.ADAPTERS`. Its constructor's arguments are the keys of
    ``peft.method`` and are kept as attributes of the same names. Every kind of layer in
    :mod:`mmadapt.adapters.layers` then works with it: the layers know how to compute with another
    weight, the method knows which one.

    A weight is always seen as ``(out, in / groups, *kernel)``: a transposed convolution's and an
    embedding's are turned before they come here. That of a norm is ``(channels, )``.

    Args:
        attention (Sequence[str]): Which projections of a ``MultiheadAttention`` are adapted, of
            ``'q'``, ``'k'``, ``'v'`` and ``'out'``. Defaults to all.

    Attributes:
        tensor_names (tuple[str]): The names of all tensors that :meth:`create` may return.
        row_scales (tuple[str]): Which of them only scale the rows of a weight. A layer that
            standardizes its rows undoes any scale of them, and gets none of these.
        r (int): The rank of what it adds; 0 where it adds no low-rank product.
        freeze_A (bool): Whether the first of its two factors is not trained. A layer then needs no
            more of its input for the backward pass than that factor makes of it.
        dropout (float): Probability with which an element of a layer's input is dropped on its way
            to what the adapter adds.
        dropout_mode (str): ``'element'``, as said; or ``'channel'``: :meth:`drop_channels` drops
            whole channels of the input.
        adapts_norms (bool): Whether the method adapts norm layers too. What it adapts by its
            outputs' scale then belongs behind the norm that follows a convolution.
        reads_weight (bool): Whether :meth:`gain` looks at the weight, which a quantized layer then
            has to make dense for it.
    """

    tensor_names: ClassVar[tuple[str, ...]]
    row_scales: ClassVar[tuple[str, ...]] = ()
    r: int = 0
    freeze_A: bool = False
    dropout: float = 0.0
    dropout_mode: str = 'element'
    adapts_norms: ClassVar[bool] = False
    reads_weight: ClassVar[bool] = True

    def __init__(self, attention: Sequence[str] = ATTENTION_PARTS) -> None:
        check_list('peft.method.attention', attention, (str,), 'names', least=1)
        for part in attention:
            check_one_of('peft.method.attention: a part', part, ATTENTION_PARTS)
        self.attention = tuple(attention)

    @abstractmethod
    def create(self, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        """Return the adapter's tensors for a weight: parameters, and buffers for constants.

        With them :meth:`adapt` returns ``weight`` and ``bias`` as they are.
        """

    def initialize(  # noqa: B027  most need none
        self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor]
    ) -> None:
        """Set the values of tensors that start from the weight itself, in place.

        Called whenever the weight has come after the adapter, as a checkpoint does in training.
        """

    @abstractmethod
    def adapt(
        self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Return the weight and bias that the adapted layer computes with."""

    def adapt_scaled(
        self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor], affine: Affine
    ) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the adapted layer and an affine map of its channels behind it.

        Args:
            weight (Tensor): As :meth:`adapt` gets it.
            bias (Tensor, optional): The same.
            tensors (Mapping[str, Tensor]): The adapter's.
            affine (tuple[Tensor, Tensor]): Factor and shift, ``(out, )`` each.
        """
        return move_affine(*self.adapt(weight, bias, tensors), affine)

    def low_rank(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """Return what is added to a weight as two factors, where it has that form.

        Args:
            tensors (Mapping[str, Tensor]): The adapter's.

        Returns:
            tuple: ``down`` of shape ``(r, in / groups, *kernel)`` and ``up`` of shape ``(out, r)``;
            None if the method adds no low-rank product.
        """
        return None

    def low_rank_scaled(
        self,
        weight: Tensor,
        bias: Tensor | None,
        tensors: Mapping[str, Tensor],
        affine: Affine | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the two factors of what is added, and the bias, for a method that has them.

        Args:
            weight (Tensor): As :meth:`adapt` gets it.
            bias (Tensor, optional): The same.
            tensors (Mapping[str, Tensor]): The adapter's.
            affine (tuple[Tensor, Tensor], optional): Factor and shift ``(out, )`` of a map of the
                output's channels, by which ``up`` and the bias are mapped.

        Returns:
            tuple: ``down`` and ``up``, as of :meth:`low_rank`, and the bias.
        """
        bias, factors = self.adapt_bias(bias, tensors), self.low_rank(tensors)
        assert factors is not None
        down, up = factors
        if affine is not None:
            up, bias = scale_rows(up, affine[0]), move_into_bias(bias, affine)
        return down, up, bias

    def drop_channels(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the tensors that a training step computes with, where it drops channels."""
        return tensors

    @property
    def is_free_sum(self) -> bool:
        """bool: Whether ``adapt`` is ``W + up down`` and no more, by whatever way is cheapest."""
        return False

    def gain(self, weight: Tensor, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """Return the factors ``(out, )`` on the rows of a weight and its low-rank addition.

        They and :meth:`low_rank` say everything about a method that has factors:
        ``adapt(W, b) = gain (W + up down), adapt_bias(b)``.
        """
        return None

    def adapt_bias(self, bias: Tensor | None, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """Return the bias that the adapted layer computes with."""
        return bias

    def for_layer(self, overrides: Mapping) -> 'AdapterMethod':
        """Return this method with other values of some of its arguments."""
        return type(self)(**{**self.arguments(), **overrides}) if overrides else self

    def supports(self, layer: nn.Module) -> bool:
        """Return whether the method has a form for a layer that the package can adapt."""
        weight = getattr(layer, 'weight', None)
        if isinstance(layer, NORM_LAYERS):
            return self.adapts_norms and weight is not None and weight.dim() == 1
        return weight is not None or isinstance(layer, nn.MultiheadAttention)

    @abstractmethod
    def arguments(self) -> dict:
        """Return the constructor's arguments."""

    def to_dict(self) -> dict:
        """Return the config that builds this method again."""
        return dict(type=type(self).__name__, **self.arguments())

    def __repr__(self) -> str:
        arguments = ', '.join(f'{key}={value!r}' for key, value in self.arguments().items())
        return f'{type(self).__name__}({arguments})'
