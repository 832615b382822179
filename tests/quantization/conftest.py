"""What the tests of quantized layers share."""

import pytest
import torch


@pytest.fixture
def bitsandbytes():
    """The library; the test is skipped where it is not installed."""
    return pytest.importorskip('bitsandbytes', reason='bitsandbytes is not installed')


@pytest.fixture
def decode():
    """Return a function that decodes 4-bit codes one by one, with no kernel of bitsandbytes."""

    def decode_(codes, absmax, type_, shape):
        from bitsandbytes.functional import get_4bit_type

        flat = codes.flatten()
        indices = torch.stack([flat >> 4, flat & 15], dim=1).flatten().long()[: shape.numel()]
        blocks = torch.arange(len(indices)) // 64
        return (get_4bit_type(type_, device='cpu')[indices] * absmax[blocks]).view(shape)

    return decode_
