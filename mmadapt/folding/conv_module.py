"""mmcv's ``ConvModule`` with its frozen norm folded into its convolution while it trains.

One call of the convolution instead of two layers, and one activation map less to keep. In eval mode
it computes what it always did, bit for bit.
"""

from mmcv.cnn import ConvModule
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..adapters.affine import move_affine
from ..adapters.as_one import as_one
from ..adapters.layers.norm import NormLayer
from ..adapters.layers.weight import WeightLayer
from .affine import affine_of
from .scaled_conv import can_rescale, rescaled_conv
from .watched import is_watched


class FoldingConvModule(ConvModule):
    """A ConvModule whose norm follows its convolution directly and is an affine map."""

    stock_class = ConvModule
    norm: _BatchNorm

    def forward(self, x: Tensor, activate: bool = True, norm: bool = True) -> Tensor:
        """Map ``(batch, in, *size)`` to ``(batch, out, *size')``.

        Args:
            x (Tensor): The input.
            activate (bool): Whether to apply the activation. Defaults to True.
            norm (bool): Whether to apply the norm. Defaults to True.

        Returns:
            Tensor: ``(batch, out, *size')``.
        """
        if not norm or not self.conv.training or is_watched(self.conv, self.norm):
            return super().forward(x, activate, norm)
        for step in self.order:
            if step == 'conv':
                x = self._conv_and_norm(self.padding_layer(x) if self.with_explicit_padding else x)
            elif step == 'act' and activate and self.with_activation:
                x = self.activate(x)
        return x

    def _conv_and_norm(self, x: Tensor) -> Tensor:
        if isinstance(self.norm, NormLayer) and can_rescale(self.conv, self.norm):
            return rescaled_conv(x, self.conv, self.norm)
        affine = affine_of(self.norm)
        if isinstance(self.conv, WeightLayer):
            return self.conv.compute(x, affine=affine)
        weight, bias = as_one(move_affine, self.conv.weight, self.conv.bias, affine)
        return self.conv._conv_forward(x, weight, bias)
