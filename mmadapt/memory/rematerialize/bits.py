"""One bit an element, of which the gradient of a ReLU asks no more."""

from functools import cache

import torch
from torch import Tensor


class PositiveBits:
    """Which elements of a tensor are positive.

    Args:
        tensor (Tensor): The output of a ReLU.
    """

    __slots__ = ('_bits', '_dtype', '_size', '_stride')

    def __init__(self, tensor: Tensor) -> None:
        with torch.no_grad():
            passes = tensor.detach() <= 0
            self._size, self._stride, self._dtype = passes.shape, passes.stride(), tensor.dtype
            # What is not a number passes its gradient on.
            flat = passes.as_strided((passes.numel(),), (1,)).logical_not_()
            padded = torch.nn.functional.pad(flat, (0, -len(flat) % 8)).view(torch.int64)
            # The lowest bits of eight bytes, moved side by side into the highest byte.
            self._bits = (padded * 0x0102040810204080 >> 56).to(torch.uint8)

    def saved(self) -> Tensor:
        """Return ones in the place of what is positive, or no number, and zeros elsewhere."""
        flat = _bytes_of_bits(self._bits.device)[self._bits.long()].view(torch.bool)
        return flat.as_strided(self._size, self._stride).to(self._dtype)


@cache
def _bytes_of_bits(device: torch.device) -> Tensor:
    """Return for each byte the eight booleans that it stands for, as one number."""
    byte, bit = (torch.arange(n, dtype=torch.uint8, device=device) for n in (256, 8))
    return (byte[:, None] >> bit & 1).view(torch.int64).flatten()
