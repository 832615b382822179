r"""LoRA: a frozen weight plus a low-rank product (Hu et al., https://arxiv.org/abs/2106.09685).

.. math:: W' = W + s B A, \qquad A \in R^{r \times n},\; B \in R^{m \times r}

with :math:`s = \alpha / r`, or :math:`\alpha / \sqrt{r}` (rsLoRA, Kalajdzievski,
https://arxiv.org/abs/2312.03732). A convolution's weight is the matrix of ``out`` rows and
``in / groups * kh * kw`` columns, so its ``A`` is itself a convolution to ``r`` channels and its
``B`` a 1x1 convolution behind it. ``B`` starts at zero: the adapted layer is bit-identical to the
stock one until it is trained.

LoRA-FA (Zhang et al., https://arxiv.org/abs/2308.03303) trains ``B`` alone, behind a random ``A``
that stays as it was drawn. All that the gradient of ``B`` needs of the input :math:`x` is
:math:`A x`, which has ``r`` channels.

Dropout of channels, as in LoRA Dropout (Lin et al., https://arxiv.org/abs/2404.09610), drops
columns of ``A`` for a step: :math:`W + s B (A \odot m)` with one number
:math:`m_j \in \{0, 1 / (1 - p)\}` for each channel of the input. It is a weight like any other, so
it costs no pass over an activation, and nothing beside it is kept.

Initializations that start from parts of the weight (PiSSA, OLoRA) train
:math:`W' = W + s (B A - B_0 A_0)`, where :math:`B_0 A_0` are the first values: what those papers
compute, on a base that stays untouched.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..values import (
    check_count,
    check_flag,
    check_number,
    check_one_of,
    check_patterns,
    check_together,
)
from .affine import Affine, move_affine, scale_rows
from .lora_init import INITS, WEIGHT_INITS, random_factors, weight_factors
from .method import ATTENTION_PARTS, AdapterMethod
from .registry import ADAPTERS

COMPUTE = ('auto', 'merged', 'factored')
DROPOUT_MODES = ('element', 'channel')
MASK = 'lora_mask'
"""What stands beside a layer's tensors in a training step that drops some columns of A."""


@ADAPTERS.register_module()
class LoRA(AdapterMethod):
    """Low-rank adaptation.

    Args:
        r (int): Rank. Used as asked for, also where it is beyond the rank of a small weight.
            Defaults to 8.
        alpha (float): What is added is scaled by ``alpha / r``. Defaults to 16.
        dropout (float): Dropout on the input of what is added, during training. Defaults to 0.
        dropout_mode (str): What is dropped: ``'element'``: elements of the input, as Hugging Face's
            PEFT does; ``'channel'``: channels of the input, for a whole batch. Defaults to
            ``'element'``.
        rslora (bool): Scale by ``alpha / sqrt(r)`` instead. Defaults to False.
        init (str): ``'kaiming'`` (the authors' code) or ``'gaussian'`` (of standard deviation
            ``1 / r``) for A, B being 0; ``'orthogonal'``; ``'pissa'``; ``'olora'``. Defaults to
            ``'kaiming'``.
        freeze_A (bool): Whether A stays as it was drawn (LoRA-FA): Linear and convolutions then
            keep ``r`` channels for the backward pass in the place of their input. Not for inits
            that start from the weight. Defaults to False.
        rank_pattern (dict, optional): Other ranks for some layers, by name, suffix or regular
            expression of the full name.
        alpha_pattern (dict, optional): The same for ``alpha``.
        attention (Sequence[str]): Which projections of a ``MultiheadAttention`` are adapted.
        compute (str): ``'merged'``: one call of the layer with ``W'``; ``'factored'``: the layer's
            own output plus ``s B (A x)``, where a layer can be computed so; ``'auto'``: what is
            cheaper for its shapes, forward and backward. Defaults to ``'auto'``.
    """

    tensor_names: ClassVar[tuple[str, ...]] = ('lora_A', 'lora_B', 'lora_A0', 'lora_B0')
    reads_weight = False

    def __init__(
        self,
        r: int = 8,
        alpha: float = 16,
        dropout: float = 0.0,
        rslora: bool = False,
        init: str = 'kaiming',
        freeze_A: bool = False,
        dropout_mode: str = 'element',
        rank_pattern: Mapping | None = None,
        alpha_pattern: Mapping | None = None,
        attention: Sequence[str] = ATTENTION_PARTS,
        compute: str = 'auto',
    ) -> None:
        super().__init__(attention)
        check_together(
            lambda: check_count('peft.method.r', r),
            lambda: _check_alpha('peft.method.alpha', alpha),
            lambda: check_patterns('peft.method.rank_pattern', rank_pattern, check_count),
            lambda: check_patterns('peft.method.alpha_pattern', alpha_pattern, _check_alpha),
            lambda: check_number('peft.method.dropout', dropout, lambda p: 0 <= p < 1, 'in [0, 1)'),
            lambda: check_flag('peft.method.rslora', rslora),
            lambda: check_one_of('peft.method.init', init, INITS),
            lambda: check_flag('peft.method.freeze_A', freeze_A),
            lambda: check_one_of('peft.method.dropout_mode', dropout_mode, DROPOUT_MODES),
            lambda: check_one_of('peft.method.compute', compute, COMPUTE),
        )
        if init == 'orthogonal' and any(rank % 2 for rank in (r, *(rank_pattern or {}).values())):
            raise UserError("peft.method.init='orthogonal' needs an even rank")
        if freeze_A and init in WEIGHT_INITS:
            raise UserError(
                f'peft.method.freeze_A=True keeps the A that was drawn, and init={init!r} starts '
                "from the weight to train both factors; write init='kaiming', or freeze_A=False"
            )
        if dropout_mode == 'channel' and not dropout:
            raise UserError(
                "peft.method.dropout_mode='channel' says what peft.method.dropout drops, which is "
                '0; write a dropout such as 0.1, or leave dropout_mode out'
            )
        self.r = r
        self.alpha = alpha
        self.dropout = float(dropout)
        self.rslora = rslora
        self.init = init
        self.freeze_A = freeze_A
        self.dropout_mode = dropout_mode
        self.rank_pattern = dict(rank_pattern or {})
        self.alpha_pattern = dict(alpha_pattern or {})
        self.compute = compute

    @property
    def scale(self) -> float:
        """float: The factor on ``B A``."""
        return self.alpha / (math.sqrt(self.r) if self.rslora else self.r)

    def create(self, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        """Return ``lora_A`` and ``lora_B`` in float32, and their first values if those count."""
        down, up = random_factors(self.init, weight, self.r)
        up = up.reshape(*up.shape, *(1,) * (weight.dim() - 2))
        tensors: dict[str, Tensor] = dict(
            lora_A=nn.Parameter(down, requires_grad=not self.freeze_A), lora_B=nn.Parameter(up)
        )
        if self.init in WEIGHT_INITS:
            tensors.update(lora_A0=down.clone(), lora_B0=up.clone())
            with torch.no_grad():
                LoRA.initialize(self, weight, bias, tensors)
        return tensors

    def initialize(
        self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor]
    ) -> None:
        """Set A, B and their first values to parts of the weight, where ``init`` says so."""
        if self.init not in WEIGHT_INITS:
            return
        left, right = weight_factors(self.init, weight, self.r, self.scale)
        # Not by flattening them: in channels_last that would be a copy.
        for name in ('lora_A', 'lora_A0'):
            rows = tensors[name][: len(right)]
            rows.copy_(right.reshape(rows.shape))
        for name in ('lora_B', 'lora_B0'):
            columns = tensors[name][:, : len(right)]
            columns.copy_(left.reshape(columns.shape))

    def adapt(
        self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Return ``W + s B A`` and the bias."""
        delta = tensors['lora_B'].flatten(1) @ _down('lora_A', tensors).flatten(1)
        if 'lora_A0' in tensors:
            delta = delta - tensors['lora_B0'].flatten(1) @ _down('lora_A0', tensors).flatten(1)
        delta = delta.view(weight.shape).to(weight.dtype)
        return torch.add(weight, delta, alpha=self.scale), bias

    def adapt_scaled(
        self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor], affine: Affine
    ) -> tuple[Tensor, Tensor]:
        """Scale ``W``, for which there is no gradient, and ``B`` apart: less to do backwards."""
        down, up = self.low_rank(tensors)
        delta = (scale_rows(up, affine[0]) @ down.flatten(1)).view(weight.shape)
        weight, bias = move_affine(weight, bias, affine)
        return weight + delta.to(weight.dtype), bias

    def low_rank(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return ``A`` and ``s B``."""
        down, up = _down('lora_A', tensors), tensors['lora_B'].flatten(1) * self.scale
        if 'lora_A0' in tensors:
            down = torch.cat([down, _down('lora_A0', tensors)])
            up = torch.cat([up, tensors['lora_B0'].flatten(1) * -self.scale], dim=1)
        return down, up

    def drop_channels(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Add a mask ``(1, in / groups, 1, ...)`` of the columns of A, if channels are dropped."""
        if self.dropout_mode != 'channel':
            return tensors
        down, kept = tensors['lora_A'], 1 - self.dropout
        mask = down.new_empty(1, down.shape[1], *(1,) * (down.dim() - 2))
        return {**tensors, MASK: mask.bernoulli_(kept) / kept}

    @property
    def is_free_sum(self) -> bool:
        """bool: Whether the backward pass may go by the factors; not if a subclass adds to it."""
        return (
            self.compute == 'auto'
            and type(self).adapt is LoRA.adapt
            and type(self).gain is AdapterMethod.gain
        )

    def arguments(self) -> dict:
        """Return the constructor's arguments."""
        return dict(
            r=self.r,
            alpha=self.alpha,
            dropout=self.dropout,
            rslora=self.rslora,
            init=self.init,
            freeze_A=self.freeze_A,
            dropout_mode=self.dropout_mode,
            rank_pattern=self.rank_pattern,
            alpha_pattern=self.alpha_pattern,
            attention=list(self.attention),
            compute=self.compute,
        )


def _down(name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    return tensors[name] * tensors[MASK] if MASK in tensors else tensors[name]


def _check_alpha(where: str, value) -> None:
    check_number(where, value, lambda alpha: 0 < alpha < sys.float_info.max, 'a positive number')
