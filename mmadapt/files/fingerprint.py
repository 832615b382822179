"""A number that tells one set of frozen weights from another."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors: their names, shapes, types and every bit of their values.

    Args:
        tensors (Mapping[str, Tensor]): The frozen part of a state dict, on any device.

    Returns:
        str: 64 hexadecimal digits, independent of the order of the keys.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f'{name} {tuple(tensor.shape)} {tensor.dtype}\n'.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def file_sha256(path: str) -> str:
    """Return the SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
