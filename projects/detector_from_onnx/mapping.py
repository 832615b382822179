"""The weights of a file as those of a model that computes the same, operation by operation."""

from collections.abc import Iterator

import torch
from mmdet.models.detectors import YOLOX
from torch import nn

from .graphs import Node, trace


class Exported(nn.Module):
    """A YOLOX with the output that Megvii's export has.

    Args:
        detector (YOLOX): MMDetection's.
    """

    def __init__(self, detector: YOLOX) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute boxes and scores of all places.

        Args:
            images (Tensor): (N, 3, H, W), BGR from 0 to 255; H and W are multiples of 32.

        Returns:
            Tensor: (N, H * W * (1 / 64 + 1 / 256 + 1 / 1024), 5 + classes): center and logarithms
            of the size in units of the stride, objectness and scores of the classes.
        """
        levels = zip(*self.detector.bbox_head(self.detector.extract_feat(images)), strict=True)
        places = [
            torch.cat([boxes, objectness.sigmoid(), scores.sigmoid()], 1).flatten(2)
            for scores, boxes, objectness in levels
        ]
        return torch.cat(places, 2).transpose(1, 2)


def pairs(own: Node, other: Node) -> Iterator[tuple[Node, Node]]:
    """Walk two graphs from their outputs to the image and yield what stands in the same place.

    The two convolutions at the entry of a CSP block read the same and have the same shape, so
    neither order nor shapes tell them apart; where their results go does.

    Args:
        own (Node): What computes the output of one.
        other (Node): What computes the output of the other.

    Yields:
        tuple[Node, Node]: Each operation once, and the one in its place.

    Raises:
        ValueError: The graphs differ.
    """
    left, right, waiting = {}, {}, [(own, other)]
    while waiting:
        one, two = waiting.pop()
        if left.get(one) is two:
            continue
        if one.operation != two.operation or one in left or two in right:
            raise ValueError(f'the model has {one} where the file has {two}')
        left[one], right[two] = two, one
        yield one, two
        waiting.extend(zip(one.inputs, two.inputs, strict=True))


def state_dict(detector: YOLOX, output: Node) -> dict[str, torch.Tensor]:
    """Return the weights of a file under the names of a detector.

    The file has every BatchNorm within its convolution. Those of the detector become the identity
    with the convolution's bias: mean 0, weight 1 and a variance that is 1 with their epsilon.

    Args:
        detector (YOLOX): MMDetection's, of the same size and number of classes.
        output (Node): What computes the output of the file.

    Returns:
        dict[str, torch.Tensor]: A whole state dict.

    Raises:
        ValueError: The detector computes something else.
    """
    state = {}
    for own, other in pairs(trace(Exported(detector)), output):
        if own.kind != 'conv':
            continue
        weight, bias = other.weights
        name, norm = (name.removeprefix('detector.') for name in (own.name, own.norm))
        state[f'{name}.weight'] = weight
        if not norm:
            state[f'{name}.bias'] = bias
            continue
        state[f'{norm}.weight'] = torch.ones_like(bias)
        state[f'{norm}.bias'] = bias
        state[f'{norm}.running_mean'] = torch.zeros_like(bias)
        state[f'{norm}.running_var'] = torch.ones_like(bias) - detector.get_submodule(norm).eps
        state[f'{norm}.num_batches_tracked'] = torch.tensor(0)
    return state
