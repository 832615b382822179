r"""LoRA: a frozen weight plus a low-rank product (Hu et al., https://arxiv.org/abs/2106.09685).

.. math:: W' = W + \frac{\alpha}{r} B A, \qquad A \in R^{r \times n},\; B \in R^{m \times r}

A convolution's weight is the matrix of ``out`` rows and ``in / groups * kh * kw`` columns, so its
``A`` is itself a convolution to ``r`` channels and its ``B`` a 1x1 convolution behind it. ``B``
starts at zero: the adapted layer is bit-identical to the stock one until it is trained.

Two ways to compute the same:

* *merged*: one call of the layer with ``W + s B A``. No activation is kept beside the layer's own.
* *factored*: ``layer(x, W) + s B(A(dropout(x)))``. Dropout on the input of the branch can only be
  computed this way.
"""

import math
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError
from .layer import AdapterLayer
from .method import AdapterMethod
from .registry import ADAPTERS


class LoRALayer(AdapterLayer):
    """What LoRA layers of all kinds share.

    Attributes:
        lora_A (nn.Parameter): ``(r, in)`` of a Linear, ``(r, in / groups, kh, kw)`` of a conv.
        lora_B (nn.Parameter): ``(out, r)`` of a Linear, ``(out, r, 1, 1)`` of a conv.
        lora_scale (float): ``alpha / r``.
        lora_dropout (float): Probability with which an input of the branch is dropped.
    """

    adapter_names = ('lora_A', 'lora_B')
    adapter_settings = ('lora_scale', 'lora_dropout')

    def merged_weight(self) -> Tensor:
        """Return ``W + s B A``, shaped like ``weight``."""
        delta = self.lora_B.flatten(1) @ self.lora_A.flatten(1)
        delta = delta.view_as(self.weight).to(self.weight.dtype)
        return torch.add(self.weight, delta, alpha=self.lora_scale)

    @property
    def _factored(self) -> bool:
        return self.training and self.lora_dropout > 0

    def _factors(self) -> tuple[Tensor, Tensor]:
        """Return ``A`` and ``s B`` in the type of the weight, which may be of half precision."""
        dtype = self.weight.dtype
        return self.lora_A.to(dtype), (self.lora_B * self.lora_scale).to(dtype)


class LoRALinear(LoRALayer, nn.Linear):
    """A Linear with a LoRA branch."""

    stock_class = nn.Linear

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        if not self._factored:
            return F.linear(x, self.merged_weight(), self.bias)
        down, up = self._factors()
        branch = F.linear(F.dropout(x, self.lora_dropout), down)
        return F.linear(x, self.weight, self.bias) + F.linear(branch, up)


class LoRAConv2d(LoRALayer, nn.Conv2d):
    """A 2D convolution of any stride, padding, dilation and number of groups with a LoRA branch."""

    stock_class = nn.Conv2d

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in, height, width)`` to ``(batch, out, height', width')``."""
        if not self._factored:
            return self._conv_forward(x, self.merged_weight(), self.bias)
        # Every group of the weight has the same A, applied to its own channels of the input.
        down, up = self._factors()
        down = down.repeat(self.groups, 1, 1, 1) if self.groups > 1 else down
        branch = self._conv_forward(F.dropout(x, self.lora_dropout), down, None)
        branch = F.conv2d(branch, up, groups=self.groups)
        return self._conv_forward(x, self.weight, self.bias) + branch


@ADAPTERS.register_module()
class LoRA(AdapterMethod):
    """Low-rank adaptation of Linear and Conv2d layers.

    Args:
        r (int): Rank. Used as asked for, also where it is beyond the rank of a small weight.
            Defaults to 8.
        alpha (float): The branch is scaled by ``alpha / r``. Defaults to 16.
        dropout (float): Dropout on the branch's input during training. Defaults to 0.
    """

    def __init__(self, r: int = 8, alpha: float = 16, dropout: float = 0.0) -> None:
        if isinstance(r, bool) or not isinstance(r, int) or r < 1:
            raise UserError(f'peft.method.r must be an integer of at least 1, got {r!r}')
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) \
                or not 0 < alpha < math.inf:
            raise UserError(f'peft.method.alpha must be a positive number, got {alpha!r}')
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) \
                or not 0 <= dropout < 1:
            raise UserError(f'peft.method.dropout must be in [0, 1), got {dropout!r}')
        self.r = r
        self.alpha = alpha
        self.dropout = dropout

    def to_dict(self) -> dict:
        """Return the config that builds this method again."""
        return dict(type='LoRA', r=self.r, alpha=self.alpha, dropout=self.dropout)

    def layer_class(self, layer: nn.Module) -> type[AdapterLayer] | None:
        """Return the LoRA class for ``layer``; only exact classes, as a subclass may compute
        something else from its weight."""
        return _layer_classes().get(type(layer))

    def extra_parameters(self, layer: nn.Module) -> int:
        """Return ``r (in / groups * kh * kw + out)``."""
        return self.r * (layer.weight[0].numel() + layer.weight.shape[0])

    def attach(self, layer: nn.Module) -> None:
        """Swap the class of ``layer`` and add ``lora_A`` (Kaiming uniform) and ``lora_B`` (0)."""
        weight = layer.weight
        kernel = (1,) * (weight.dim() - 2)
        down = weight.new_empty((self.r, *weight.shape[1:]), dtype=torch.float32)
        # As nn.Linear initialises its weight, which is what the authors' code calls.
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))
        layer.__class__ = self.layer_class(layer)
        layer.lora_A = nn.Parameter(down)
        layer.lora_B = nn.Parameter(
            weight.new_zeros((weight.shape[0], self.r, *kernel), dtype=torch.float32))
        layer.lora_scale = self.alpha / self.r
        layer.lora_dropout = float(self.dropout)


def _layer_classes() -> dict[type, type[AdapterLayer]]:
    classes = {nn.Linear: LoRALinear, nn.Conv2d: LoRAConv2d}
    # mmcv's own Linear and Conv2d can only be met where mmcv has been imported.
    if 'mmcv.cnn' in sys.modules:
        from .mmcv_layers import LORA_CLASSES
        classes.update(LORA_CLASSES)
    return classes
