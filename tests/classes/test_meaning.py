"""Stock detectors find of a kept class what the base finds of it."""

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config

from mmadapt.classes import find_kept, names_in

THERE, HERE = ('a', 'b', 'c', 'd'), ('c', 'new', 'a')


def found(detector, image, label):
    """Return the scores that a detector's own post-processing gives a class, of all priors."""
    head = detector.bbox_head
    meta = dict(img_shape=image.shape[-2:], ori_shape=image.shape[-2:], scale_factor=(1.0, 1.0))
    test_cfg = ConfigDict(nms_pre=100_000, score_thr=-1.0, conf_thr=-1.0, min_bbox_size=-1)
    (result,) = head.predict_by_feat(
        *head(detector.extract_feat(image)), batch_img_metas=[meta], cfg=test_cfg, with_nms=False
    )
    return result.scores[result.labels == label].sort().values


@torch.no_grad()
@pytest.mark.parametrize(
    'name',
    ['retinanet/retinanet_r50_fpn_1x_coco.py', 'yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py'],
)
def test_the_scores_of_a_kept_class_are_those_of_the_base(name, build_detector):
    base, model = build_detector(name, len(THERE)).eval(), build_detector(name, len(HERE)).eval()
    generator = torch.Generator().manual_seed(3)
    for key, tensor in base.state_dict().items():
        if key.startswith('bbox_head') and tensor.is_floating_point():
            tensor += 0.05 * torch.randn(tensor.shape, generator=generator)
    cfg = Config(dict(model=get_config(f'mmdet::{name}').model))
    cfg.model.bbox_head.num_classes = len(HERE)
    source = base.state_dict()
    names = [names_in(dict(classes=names)) for names in (HERE, THERE)]
    kept = find_kept(model, cfg, *names, source, 'FILE')
    state = dict(source)
    kept.fill(state, model.state_dict(), source)
    model.load_state_dict(state, strict=True)
    image = torch.randn(1, 3, 64, 64, generator=generator)
    for kind in ('a', 'c'):
        ours = found(model, image, HERE.index(kind))
        wanted = found(base, image, THERE.index(kind))
        assert len(ours) == len(wanted) > 100
        assert wanted.std() > 0.01
        assert torch.allclose(ours, wanted, atol=1e-5)
    new = found(model, image, HERE.index('new'))
    assert not torch.allclose(new, found(base, image, THERE.index('b')), atol=1e-2)
