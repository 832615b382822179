"""What decides about the best checkpoint is known before the run."""

from types import SimpleNamespace

import pytest
from mmengine.hooks import CheckpointHook, EarlyStoppingHook

from mmadapt import UserError
from mmadapt.preflight import check_best
from mmadapt.preflight.metrics import check_given, check_metrics


def coco(*metrics, **changes):
    own = dict(metrics=metrics, prefix='coco', metric_items=None, classwise=False)
    return type('CocoMetric', (), {**own, '__module__': 'mmdet.evaluation', **changes})()


@pytest.mark.parametrize(
    ('hooks', 'said'),
    [
        (dict(save_best='coco_panoptic/PQ'), 'save_best=.*PQ.*Cannot infer the rule'),
        (dict(save_best='x/mAP', rule='most'), 'rule must be greater, less or None, but got most'),
        (dict(save_best='coco_panoptic/PQ', rule='greater'), None),
        (dict(save_best='auto'), None),
        (dict(), None),
    ],
)
def test_a_rule_that_cannot_be_inferred_is_one_line(hooks, said):
    cfg = dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', **hooks)))
    if said is None:
        check_best(cfg)
        return
    with pytest.raises(UserError, match=f"{said}.*write rule='greater'"):
        check_best(cfg)


def test_of_an_early_end_too():
    hook = dict(type='mmengine.EarlyStoppingHook', monitor='lvis/bbox_AP')
    with pytest.raises(UserError, match=r"custom_hooks\[0\].monitor='lvis/bbox_AP': Cannot infer"):
        check_best(dict(custom_hooks=[hook]))
    check_best(dict(custom_hooks=[dict(hook, rule='greater')]))


@pytest.mark.parametrize(
    'hook',
    [
        CheckpointHook(save_best='coco/bbox_map', rule='greater'),
        EarlyStoppingHook(monitor='coco/bbox_map', rule='greater'),
    ],
)
def test_a_number_that_no_evaluator_gives_is_named_before_the_run(hook):
    with pytest.raises(UserError, match="='coco/bbox_map': no evaluator .* nearest: coco/bbox_mAP"):
        check_metrics([hook], [coco('bbox')])
    # Others may give anything.
    check_metrics([hook], [coco('bbox'), SimpleNamespace(prefix='own')])
    check_metrics([hook], [coco('bbox', classwise=True)])


def test_a_metric_of_the_same_name_in_another_package_is_another():
    pytest.importorskip('mmpose', exc_type=ImportError)
    cfg = dict(
        default_scope='mmpose',
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', save_best='coco/AP', rule='greater')
        ),
        val_cfg=dict(),
        val_evaluator=dict(type='CocoMetric', ann_file='a.json'),
    )
    check_best(cfg)
    with pytest.raises(UserError, match="'coco/AP': no evaluator"):
        check_best(dict(cfg, default_scope='mmdet'))


def test_numbers_that_are_given_are_left_in_peace():
    for key in ('coco/bbox_mAP', 'coco/segm_mAP_50', 'auto'):
        check_metrics([CheckpointHook(save_best=key)], [coco('bbox', 'segm')])
    check_metrics([CheckpointHook(save_best='auto')], [])


@pytest.mark.parametrize(
    ('kind', 'key'), [('CocoPanopticMetric', 'coco_panoptic/PQ'), ('LVISMetric', 'lvis/bbox_AP')]
)
def test_auto_takes_a_number_without_a_rule(kind, key):
    metric = type(kind, (), dict(metrics=['bbox'], prefix=key.split('/')[0]))()
    with pytest.raises(UserError, match=f"save_best='auto' takes {key}, .* write rule='greater'"):
        check_metrics([CheckpointHook(save_best='auto')], [metric])
    check_metrics([CheckpointHook(save_best='auto', rule='greater')], [metric])
    # MMEngine's own word for it, after an epoch.
    with pytest.raises(ValueError, match='Cannot infer the rule'):
        CheckpointHook(save_best='auto')._init_rule([None], [key])


def test_what_a_validation_did_not_give_is_named_with_what_it_gave():
    hook = CheckpointHook(save_best='own/mAP')
    with pytest.raises(UserError, match="save_best='own/mAP': .* nearest: own/map50"):
        check_given([hook], {'own/map50': 1.0})
    check_given([hook], {'own/mAP': 1.0})
    check_given([hook], {})  # of no detection at all
    with pytest.raises(UserError, match="save_best='auto' takes own/quality"):
        check_given([CheckpointHook(save_best='auto')], {'own/quality': 1.0})
