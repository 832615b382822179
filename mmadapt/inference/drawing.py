"""Predictions drawn by the visualizers of the libraries that they come from."""

import copy
from typing import Any

import mmcv
import numpy as np
import torch
from mmengine.registry import VISUALIZERS, DefaultScope
from mmengine.structures import InstanceData

from .circles import mend_circles
from .inferencer import ImageResult, Inferencer
from .instances import Instance

_VISUALIZERS = dict(
    mmdet='DetLocalVisualizer',
    mmpose='PoseLocalVisualizer',
    mmseg='SegLocalVisualizer',
    mmpretrain='UniversalVisualizer',
)


class Drawing:
    """Draws what was seen into images.

    Args:
        inferencer (Inferencer): What predicts.
        score (float): What is less sure is not drawn.
    """

    def __init__(self, inferencer: Inferencer, score: float) -> None:
        self._views, self._scope = inferencer.views, inferencer.resident.scope
        self._score = score
        names = [name for view in self._views.values() for name in view.class_names]
        self._names = list(dict.fromkeys(names))
        self._visualizers: dict[str, Any] = {}
        with DefaultScope.overwrite_default_scope(self._scope):
            for name, view in self._views.items():
                kind = _VISUALIZERS.get(self._scope, 'DetLocalVisualizer')
                visualizer: Any = VISUALIZERS.build(dict(type=kind, name=f'predict_{name}'))
                visualizer.dataset_meta = dict(view.meta, palette=view.meta.get('palette'))
                if self._scope == 'mmpose':
                    visualizer.set_dataset_meta(copy.deepcopy(view.meta))
                mend_circles(visualizer)
                self._visualizers[name] = visualizer

    def __call__(self, result: ImageResult) -> np.ndarray:
        """Draw an image.

        Args:
            result (ImageResult): What the inferencer has yielded.

        Returns:
            np.ndarray: uint8, (H, W, 3), BGR.
        """
        image = result.frame.image
        image = mmcv.imread(result.frame.path) if image is None else image
        drawn = mmcv.bgr2rgb(image)
        if self._scope == 'mmdet':
            drawn = self._draw_joined(result.instances, drawn)
        else:
            for name in self._views:
                for sample in result.samples[name]:
                    drawn = self._draw_sample(name, sample, drawn)
        return mmcv.rgb2bgr(drawn)

    def _draw_joined(self, instances: list[Instance], image: np.ndarray) -> np.ndarray:
        from mmdet.structures import DetDataSample

        for instance in instances:
            if instance.name not in self._names:
                self._names.append(instance.name)
        shown = [instance for instance in instances if instance.score >= self._score]
        predicted = InstanceData(
            bboxes=torch.tensor([each.box for each in shown]).reshape(-1, 4),
            scores=torch.tensor([each.score for each in shown]),
            labels=torch.tensor([self._names.index(each.name) for each in shown]).long(),
        )
        masks = [each.mask for each in shown]
        if masks and all(mask is not None for mask in masks):
            predicted.masks = np.stack(masks)  # type: ignore[arg-type]  # none is None
        visualizer = next(iter(self._visualizers.values()))
        palettes = [view.meta.get('palette') for view in self._views.values()]
        palette = palettes[0] if len(palettes) == 1 and isinstance(palettes[0], list) else 'random'
        visualizer.dataset_meta = dict(classes=tuple(self._names), palette=palette)
        visualizer.add_datasample(
            'image',
            image,
            DetDataSample(pred_instances=predicted),
            draw_gt=False,
            pred_score_thr=self._score,
        )
        return visualizer.get_image()

    def _draw_sample(self, name: str, sample: Any, image: np.ndarray) -> np.ndarray:
        visualizer = self._visualizers[name]
        if self._scope == 'mmpose':
            sample = _surer(sample, self._score)
            return visualizer.add_datasample(
                'image', image, sample, draw_gt=False, draw_bbox=True, kpt_thr=self._score
            )
        if self._scope == 'mmpretrain':
            return visualizer.visualize_cls(image, sample, draw_gt=False)
        drawn: list[np.ndarray] = []
        # It has no other way to hand out what it draws.
        visualizer.add_image = lambda _, drawing, *__: drawn.append(drawing)
        visualizer.add_datasample('image', image, sample, draw_gt=False)
        return drawn[0]


def _surer(sample: Any, score: float) -> Any:
    """Return a sample without the objects that are less sure than a score."""
    predicted = sample.pred_instances
    scores = np.asarray(predicted.get('bbox_scores', np.ones(len(predicted))))
    sample = copy.copy(sample)
    sample.pred_instances = predicted[scores >= score]
    return sample
