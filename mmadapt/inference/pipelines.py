"""From an image to a model's input, by the transforms that its test data go through."""

import copy
import re
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from mmcv.transforms import Compose
from mmengine.registry import TRANSFORMS, DefaultScope
from torch import nn

from ..errors import UserError
from ..files.harmless import nothing_imported
from ..type_names import type_name
from .resident import View
from .sources import Frame

_ANNOTATIONS = re.compile(r'Load\w*Annotations?')
_IMAGE = re.compile(r'Load(Image\w*|\w*Image)')


class Preparation:
    """The transforms of a view.

    Args:
        view (View): How the model computes.
        model (nn.Module): The model.
        scope (str): The library that it is of.
    """

    def __init__(self, view: View, model: nn.Module, scope: str) -> None:
        steps = [step for step in view.pipeline if not _is(step, _ANNOTATIONS)]
        if not steps:
            raise UserError(
                f'nothing says how images are prepared for {view.name}: the config has neither '
                'test_dataloader nor test_pipeline'
            )
        self.view, self.scope = view, scope
        self.in_boxes = any(type_name(step['type']) == 'GetBBoxCenterScale' for step in steps)
        self._reads_text = hasattr(model, 'language_model')
        imports = nothing_imported() if view.described else nullcontext()
        with DefaultScope.overwrite_default_scope(scope), imports:
            self._of_files = Compose([TRANSFORMS.build(copy.deepcopy(step)) for step in steps])
            loads = next((step for step in steps if _is(step, _IMAGE)), None)
            rest = [step for step in steps if step is not loads]
            self._of_arrays = Compose([TRANSFORMS.build(copy.deepcopy(step)) for step in rest])

    def serves(self, view: View) -> bool:
        """Return whether images are prepared for another view in the very same way."""
        reads_meta = self._reads_text or self.scope == 'mmpose'
        return view.pipeline == self.view.pipeline and not reads_meta

    def __call__(self, frame: Frame, number: int, boxes: Sequence | None = None) -> list[dict]:
        """Prepare an image.

        Args:
            frame (Frame): The image.
            number (int): Its number.
            boxes (Sequence, optional): For a pose model of two stages where the objects are,
                (x1, y1, x2, y2) in pixels; there may be none. By default the whole image is one.

        Returns:
            list[dict]: One sample, or one for each box, as a data set gives it to ``collate``.
        """
        data: dict[str, Any] = dict(img_path=frame.path, img_id=number)
        if frame.image is not None:
            size = frame.image.shape[:2]
            data.update(img=frame.image, img_shape=size, ori_shape=size)
        if self.scope == 'mmseg':
            data.update(seg_fields=[], reduce_zero_label=False)
        if self.scope == 'mmpose':
            data = {**self.view.meta, **data}
        if self._reads_text:
            data.update(text=tuple(self.view.class_names), custom_entities=True)
        transform = self._of_files if frame.image is None else self._of_arrays
        if not self.in_boxes:
            return [transform(data)]
        if boxes is None:
            w, h = frame.size
            boxes = [(0, 0, w, h)]
        one = np.ones(1, dtype=np.float32)
        return [
            transform(dict(data, bbox=np.array([box], dtype=np.float32), bbox_score=one))
            for box in boxes
        ]


def _is(step: dict, pattern: re.Pattern) -> bool:
    return pattern.fullmatch(type_name(step['type'])) is not None
