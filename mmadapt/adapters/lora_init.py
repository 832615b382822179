r"""First values of LoRA's factors.

* ``kaiming``: A uniform as ``nn.Linear`` initializes its weight, B zero (Hu et al.'s code).
* ``gaussian``: A normal with standard deviation ``1 / r``, B zero (diffusers).
* ``orthogonal``: both non-zero with ``B A = 0``: A and B are spanned by the even and by the odd
  rows of an orthogonal matrix.
* ``pissa``: the ``r`` largest singular components, :math:`A = S^{1/2} V^T / \sqrt{s}`,
  :math:`B = U S^{1/2} / \sqrt{s}` (Meng et al., https://arxiv.org/abs/2404.02948).
* ``olora``: the first ``r`` columns and rows of a QR factorization (Büyükakyüz,
  https://arxiv.org/abs/2406.01775).

A convolution's weight is flattened to ``(out, in / groups * kernel)``.
"""

import math

import torch
from torch import Tensor, nn

WEIGHT_INITS = ('pissa', 'olora')
INITS = ('kaiming', 'gaussian', 'orthogonal', *WEIGHT_INITS)


def random_factors(kind: str, weight: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """Return first values of A and B that do not come from the weight.

    Args:
        kind (str): One of :data:`INITS`; of :data:`WEIGHT_INITS` as ``'kaiming'``, for ranks beyond
            the weight's own.
        weight (Tensor): The weight, ``(out, in / groups, *kernel)``; its shape and device count.
        r (int): The rank.

    Returns:
        tuple[Tensor, Tensor]: ``A`` of shape ``(r, in / groups, *kernel)`` and ``B`` of shape
        ``(out, r)``, in float32.
    """
    down = weight.new_empty((r, *weight.shape[1:]), dtype=torch.float32)
    up = weight.new_zeros((weight.shape[0], r), dtype=torch.float32)
    if kind == 'orthogonal':
        basis = nn.init.orthogonal_(down.new_empty(r, r))
        # A tenth, so that the first steps are those of a small weight.
        down = basis[0::2].T @ torch.randn_like(down.flatten(1)[: r // 2]) / 10
        up = torch.randn_like(up[:, : r // 2]) @ basis[1::2] / 10
        return down.view(r, *weight.shape[1:]), up
    if kind == 'gaussian':
        nn.init.normal_(down, std=1 / r)
    else:
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))
    return down, up


def weight_factors(kind: str, weight: Tensor, r: int, scale: float) -> tuple[Tensor, Tensor]:
    """Return the part of a weight that PiSSA or OLoRA trains, as factors.

    Args:
        kind (str): One of :data:`WEIGHT_INITS`.
        weight (Tensor): The weight, ``(out, in / groups, *kernel)``.
        r (int): How many components at most.
        scale (float): The factor on ``B A``, by which PiSSA divides.

    Returns:
        tuple[Tensor, Tensor]: ``(out, k)`` and ``(k, in / groups * kernel)`` in float32, where k is
        at most ``r`` and the rank that the weight can have.
    """
    matrix = weight.detach().flatten(1).float()
    if kind == 'pissa':
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        root = (values / scale).sqrt()
        left, right = left * root, root[:, None] * right
    else:
        left, right = torch.linalg.qr(matrix)
    return left[:, :r], right[:r]
