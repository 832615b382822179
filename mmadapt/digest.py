"""The SHA-256 of a tensor."""

import hashlib

import torch
from torch import Tensor


def tensor_digest(tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor: its shape, type and every bit of its values.

    Args:
        tensor (Tensor): On any device; the layout of its memory does not count.

    Returns:
        str: 64 hexadecimal digits.
    """
    tensor = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f'{tuple(tensor.shape)} {tensor.dtype}\n'.encode())
    digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
