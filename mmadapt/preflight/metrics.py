"""Whether what a run calls its best is a number that its evaluators give, and better how."""

import copy
from collections.abc import Iterable, Mapping
from types import SimpleNamespace

from mmengine.hooks import CheckpointHook, EarlyStoppingHook

from ..errors import UserError
from ..type_names import type_name
from ..values import close_names
from .arguments import registered

_BOX_ITEMS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
# By class name, the first number of an evaluator, which save_best='auto' takes.
_FIRST = {'CocoPanopticMetric': 'PQ', 'MOTChallengeMetric': 'HOTA'}
_RULE = "write rule='greater' or rule='less' beside it"


def check_best(cfg: dict) -> None:
    """Check what decides about the best checkpoint and an early end.

    Args:
        cfg (dict or Config): A whole config.

    Raises:
        UserError: MMEngine cannot tell whether more or less of it is better, or no evaluator of
            the config gives it.
    """
    built = []
    hooks = [('default_hooks.checkpoint', (cfg.get('default_hooks') or {}).get('checkpoint'))]
    hooks += [(f'custom_hooks[{n}]', h) for n, h in enumerate(cfg.get('custom_hooks') or [])]
    for where, hook in hooks:
        if not isinstance(hook, dict):
            continue
        kind = type_name(hook.get('type'))
        cls = {'CheckpointHook': CheckpointHook, 'EarlyStoppingHook': EarlyStoppingHook}.get(kind)
        if cls is None:
            continue
        name = 'save_best' if cls is CheckpointHook else 'monitor'
        given = {
            key: hook[key]
            for key in (name, 'rule', 'greater_keys', 'less_keys')
            if hook.get(key) is not None
        }
        if name not in given:
            continue
        try:
            built.append(cls(**given))
        except (ValueError, KeyError) as error:
            reason = str(error.args[0]).rstrip('.')
            raise UserError(f'{where}.{name}={hook[name]!r}: {reason}; {_RULE}') from None
    evaluators = cfg.get('val_evaluator')
    evaluators = evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]
    if cfg.get('val_cfg') is not None and all(isinstance(each, dict) for each in evaluators):
        scope = cfg.get('default_scope') or 'mmdet'
        classes = registered(scope)
        check_metrics(built, [_unbuilt(each, classes, scope) for each in evaluators])


def _unbuilt(evaluator: dict, classes: Mapping[str, list], scope: str) -> SimpleNamespace:
    """Return what is read here of an evaluator, which reads its annotations when it is built."""
    kind = evaluator.get('type')
    name = type_name(kind)
    # Several packages have a CocoMetric.
    named = [one for one in classes.get(name, []) if one.__module__.startswith(f'{scope}.')]
    cls = kind if callable(kind) else [None, *classes.get(name, []), *named][-1]
    metric = evaluator.get('metric', 'bbox')
    prefix = evaluator.get('prefix')
    return type(name, (SimpleNamespace,), dict(__module__=getattr(cls, '__module__', '')))(
        prefix=getattr(cls, 'default_prefix', None) if prefix is None else prefix,
        metrics=metric if isinstance(metric, (list, tuple)) else [metric],
        classwise=evaluator.get('classwise', False),
        metric_items=evaluator.get('metric_items'),
    )


def check_metrics(hooks: Iterable, metrics: Iterable) -> None:
    """Check before a run that its evaluators give what its hooks look at.

    Only where that is certain: of an evaluator that is not known nothing is said.

    Args:
        hooks (list[Hook]): The hooks of a runner.
        metrics (list[BaseMetric]): The evaluators of its validation.

    Raises:
        UserError: None of them gives it, or what ``save_best='auto'`` takes has no known rule.
    """
    metrics = list(metrics)
    for hook in hooks:
        for name, key in _wanted(hook):
            if key == 'auto':
                _check_auto(hook, metrics)
                continue
            known = [names for metric in metrics if (names := _names(metric)) is not None]
            given = [each for names in known for each in names]
            if metrics and len(known) == len(metrics) and key not in given:
                raise UserError(_not_given(name, key, given))


def check_given(hooks: Iterable, found: dict) -> None:
    """Check after a validation that it gave what hooks look at.

    Args:
        hooks (list[Hook]): The hooks of a runner.
        found (dict): Names and values of the validation.

    Raises:
        UserError: It did not, or what ``save_best='auto'`` takes has no known rule.
    """
    for hook in hooks:
        for name, key in _wanted(hook):
            if key == 'auto':
                if found:
                    _check_rule(hook, next(iter(found)))
            elif found and key not in found:
                raise UserError(_not_given(name, key, list(found)))


def _wanted(hook) -> list[tuple[str, str]]:
    if isinstance(hook, CheckpointHook) and hook.save_best:
        return [('default_hooks.checkpoint.save_best', key) for key in hook.key_indicators]
    if isinstance(hook, EarlyStoppingHook):
        return [('EarlyStoppingHook.monitor', hook.monitor)]
    return []


def _names(metric) -> set[str] | None:
    """Return the names of an evaluator's numbers; None if they are not known."""
    kind, prefix = type(metric).__name__, getattr(metric, 'prefix', None)
    if (
        kind != 'CocoMetric'
        or not type(metric).__module__.startswith('mmdet.')
        or prefix is None
        or getattr(metric, 'classwise', False)
        or not set(metric.metrics) <= {'bbox', 'segm'}
    ):
        return None
    items = metric.metric_items or _BOX_ITEMS
    return {f'{prefix}/{name}_{item}' for name in metric.metrics for item in items}


def _check_auto(hook, metrics: list) -> None:
    if not metrics:
        return
    first = metrics[0]
    kind = type(first).__name__
    name = f'{first.metrics[0]}_AP' if kind == 'LVISMetric' else _FIRST.get(kind)
    if name is not None:
        _check_rule(hook, f'{first.prefix}/{name}')


def _check_rule(hook: CheckpointHook, key: str) -> None:
    try:
        copy.copy(hook)._init_rule(hook.rules, [key])
    except ValueError:
        raise UserError(
            f"default_hooks.checkpoint.save_best='auto' takes {key}, of which MMEngine "
            f'does not know whether more is better: {_RULE}'
        ) from None


def _not_given(name: str, key: str, given: list[str]) -> str:
    near = close_names(key, given, most=3, likeness=0.3) or sorted(given)[:3]
    return f'{name}={key!r}: no evaluator of val_evaluator gives that; nearest: {", ".join(near)}'
