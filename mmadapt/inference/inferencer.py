"""Running the views of a resident model over images."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from ..values import check_count, check_number
from .instances import Instance, instances_of, join
from .pipelines import Preparation
from .resident import View, open_resident
from .sources import Frame

# So many prepared images wait in memory while the adapters take turns.
GROUP = 16


@dataclass
class ImageResult:
    """What the views have seen in an image.

    Args:
        frame (Frame): The image.
        instances (list[Instance]): All objects, the surest first.
        samples (dict[str, list]): By view what the model has returned: samples of MMDetection,
            MMPose, MMSegmentation or MMPretrain, one, or one for each box that was given.
    """

    frame: Frame
    instances: list[Instance] = field(default_factory=list)
    samples: dict[str, list] = field(default_factory=dict)


Prepared = tuple[ImageResult, dict]


class Inferencer:
    """A base and any number of its adapters on one model in memory.

    .. code-block:: python

        inferencer = mmadapt.Inferencer('face/adapter', dict(none='', face='face/adapter'))
        for result in inferencer(['a.jpg', 'b.jpg']):
            for instance in result.instances:
                print(instance.name, instance.score, instance.box, instance.adapter)

    Args:
        source (str or Config): An adapter folder, or the whole config of a model.
        adapters (Mapping[str, str], optional): Adapter folders by name; ``none=''`` is the base. By
            default the folder that ``source`` is, or none.
        checkpoint (str, optional): The weights: of the base, where there are adapters; else of the
            model. By default where the adapters say that their base is, or the config's
            ``load_from``.
        device (str, optional): As torch has it. Defaults to a GPU where there is one.
        merge_iou (float, optional): Where two adapters see objects of one class name whose boxes
            overlap by more, the surer one stays; None keeps both. Defaults to 0.5.
        batch_size (int): Images that go through the model at once; padded to one size, they may
            come out a little different from one at a time. MMSegmentation pads none: with it only
            images of one size go together. Defaults to 1.

    Raises:
        UserError: A file is missing, or they do not belong together.
    """

    def __init__(
        self,
        source: str | Config,
        adapters: Mapping[str, str] | None = None,
        checkpoint: str | None = None,
        device: str | None = None,
        merge_iou: float | None = 0.5,
        batch_size: int = 1,
    ) -> None:
        check_count('batch_size', batch_size)
        if merge_iou is not None:
            check_number('merge_iou', merge_iou, lambda value: 0 <= value <= 1, 'from 0 to 1')
        self.resident = open_resident(source, adapters, checkpoint, device)
        self._merge_iou, self._batch_size = merge_iou, batch_size
        model, scope = self.resident.model, self.resident.scope
        self._prepare: dict[str, Preparation] = {}
        for name, view in self.views.items():
            alike = (p for p in self._prepare.values() if p.serves(view))
            self._prepare[name] = next(alike, None) or Preparation(view, model, scope)

    @property
    def views(self) -> dict[str, View]:
        """dict[str, View]: The base and adapters, by name."""
        return self.resident.views

    @property
    def in_boxes(self) -> bool:
        """bool: Whether the model looks into boxes that it is given, as in top-down pose."""
        return any(prepare.in_boxes for prepare in self._prepare.values())

    def __call__(
        self,
        images: Iterable[str | np.ndarray | Frame],
        boxes: Mapping[str, Sequence] | None = None,
    ) -> Iterator[ImageResult]:
        """Look at images.

        Args:
            images (Iterable): Paths, arrays (uint8, (H, W, 3), BGR) or frames.
            boxes (Mapping[str, Sequence], optional): For a pose model of two stages where the
                objects are, (x1, y1, x2, y2) in pixels by the frame's name, a path's own. By
                default the whole image is one.

        Yields:
            ImageResult: What was seen, in the order of the images.
        """
        frames = (_frame(image, number) for number, image in enumerate(images))
        number = 0
        while group := [*islice(frames, GROUP)]:
            results = [ImageResult(frame) for frame in group]
            inputs = {
                prepare: [
                    prepare(
                        frame, number + index, None if boxes is None else boxes.get(frame.name, ())
                    )
                    for index, frame in enumerate(group)
                ]
                for prepare in dict.fromkeys(self._prepare.values())
            }
            for name, view in self.views.items():
                self.resident.switch(name)  # once a group
                self._run(view, results, inputs[self._prepare[name]])
            number += len(group)
            for result in results:
                if self._merge_iou is not None:
                    result.instances = join(result.instances, self._merge_iou)
                result.instances.sort(key=lambda instance: -instance.score)
                yield result

    def _run(self, view: View, results: list[ImageResult], inputs: list[list[dict]]) -> None:
        # A model writes into the samples that it is given, which the next adapter needs too.
        prepared = [
            (result, dict(sample, data_samples=copy.deepcopy(sample['data_samples'])))
            for result, samples in zip(results, inputs, strict=True)
            for sample in samples
        ]
        for result in results:
            result.samples[view.name] = []
        for batch in self._batches(prepared):
            predicted = self._step([sample for _, sample in batch])
            for (result, _), sample in zip(batch, predicted, strict=True):
                result.samples[view.name].append(sample)
        for result in results:
            result.instances += instances_of(result.samples[view.name], view)

    def _batches(self, prepared: list[Prepared]) -> Iterator[list[Prepared]]:
        # Others pad what is smaller; MMSegmentation wants one size, before its transforms too.
        by_size: dict[tuple, list[Prepared]] = {}
        for result, sample in prepared:
            size: tuple = ()
            if self.resident.scope == 'mmseg':
                size = (sample['inputs'].shape, sample['data_samples'].ori_shape)
            by_size.setdefault(size, []).append((result, sample))
        for alike in by_size.values():
            for start in range(0, len(alike), self._batch_size):
                yield alike[start : start + self._batch_size]

    def _step(self, samples: list[dict]) -> list[Any]:
        model: Any = self.resident.model
        with torch.no_grad():
            return [sample.cpu() for sample in model.test_step(pseudo_collate(samples))]


def _frame(image: str | np.ndarray | Frame, number: int) -> Frame:
    if isinstance(image, Frame):
        return image
    if isinstance(image, np.ndarray):
        return Frame(f'{number:06}', '', image)
    return Frame(str(image), str(image))
