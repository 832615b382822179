"""A number that tells one set of frozen weights from another."""

import hashlib
from collections.abc import Mapping

from torch import Tensor

from ..digest import tensor_digest


def fingerprint(tensors: Mapping[str, Tensor | str]) -> str:
    """Return the SHA-256 of tensors: their names, shapes, types and every bit of their values.

    Args:
        tensors (Mapping[str, Tensor or str]): The frozen part of a state dict, on any device; for a
            tensor that has been quantized meanwhile its :func:`~mmadapt.digest.tensor_digest`.

    Returns:
        str: 64 hexadecimal digits, independent of the order of the keys.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        value = tensor if isinstance(tensor, str) else tensor_digest(tensor)
        digest.update(f'{name} {value}\n'.encode())
    return digest.hexdigest()


def file_sha256(path: str) -> str:
    """Return the SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
