r"""First values of LoRA's factors.

* ``kaiming``: A uniform as ``nn.Linear`` initialises its weight, B zero (Hu et al.'s code).
* ``gaussian``: A normal with standard deviation ``1 / r``, B zero (diffusers).
* ``orthogonal``: both non-zero with ``B A = 0``: A and B are spanned by the even and by the odd
  rows of an orthogonal matrix.
* ``pissa``: the ``r`` largest singular components, :math:`A = S^{1/2} V^T / \sqrt{s}`,
  :math:`B = U S^{1/2} / \sqrt{s}` (Meng et al., https://arxiv.org/abs/2404.02948).
* ``olora``: the first ``r`` columns and rows of a QR factorisation (Büyükakyüz,
  https://arxiv.org/abs/2406.01775).

A convolution's weight is flattened to ``(out, in / groups * kernel)``.
"""

import math

import torch
from torch import Tensor, nn

WEIGHT_INITS = ('pissa', 'olora')
INITS = ('kaiming', 'gaussian', 'orthogonal', *WEIGHT_INITS)


def init_lora(kind: str, weight: Tensor, r: int, scale: float) -> tuple[Tensor, Tensor]:
    """Return first values of A and B.

    Args:
        kind (str): One of :data:`INITS`.
        weight (Tensor): The weight, ``(out, in / groups, *kernel)``; its values are used by
            :data:`WEIGHT_INITS` only.
        r (int): The rank. Beyond the rank of the weight, what those have no component for starts as
            with ``kaiming``.
        scale (float): The factor on ``B A``.

    Returns:
        tuple[Tensor, Tensor]: ``A`` of shape ``(r, in / groups, *kernel)`` and ``B`` of shape
        ``(out, r)``, in float32 on the weight's device.
    """
    down = weight.new_empty((r, *weight.shape[1:]), dtype=torch.float32)
    up = weight.new_zeros((weight.shape[0], r), dtype=torch.float32)
    nn.init.kaiming_uniform_(down, a=math.sqrt(5))
    if kind == 'gaussian':
        nn.init.normal_(down, std=1 / r)
    elif kind == 'orthogonal':
        basis = nn.init.orthogonal_(down.new_empty(r, r))
        columns = down[0].numel()
        # A tenth, so that the first steps are those of a small weight.
        down = (basis[0::2].T @ torch.randn(r // 2, columns).to(down) / 10).view_as(down)
        up = torch.randn(up.shape[0], r // 2).to(up) @ basis[1::2] / 10
    elif kind in WEIGHT_INITS and weight.device.type != 'meta':
        matrix = weight.detach().flatten(1).float()
        rank = min(r, *matrix.shape)
        if kind == 'pissa':
            left, values, right = torch.linalg.svd(matrix, full_matrices=False)
            root = (values[:rank] / scale).sqrt()
            left, right = left[:, :rank] * root, root[:, None] * right[:rank]
        else:
            left, right = torch.linalg.qr(matrix)
            left, right = left[:, :rank], right[:rank]
        up[:, :rank] = left
        down.flatten(1)[:rank] = right
    return down, up
