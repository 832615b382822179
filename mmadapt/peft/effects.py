"""Options of ``peft`` that would do nothing in a model: an error, instead of a run without them.

A word that is its own default says nothing and is never one of them; nor is an option that asks for
what is so already, such as ``exclude`` for a layer that nothing would adapt.
"""

import inspect
from collections.abc import Collection, Mapping

from torch import nn

from ..adapters import AdapterMethod, require_adapted_class
from ..errors import UserError
from ..norms import can_freeze, has_statistics, is_norm
from ..values import check_together
from .config import PEFTConfig
from .rules import BEHIND, Decision, Rules
from .targets import select

_ONLY_THE_HOOK = {
    'adapter': 'call mmadapt.load_adapter(model, FOLDER)',
    'base': 'load the base into the model before',
    'export': 'call mmadapt.merge and save what you need',
    'keep_classes': 'leave it out: nothing is loaded',
}


def check_effects(
    model: nn.Module,
    decisions: Mapping[nn.Module, Decision],
    rules: Rules,
    quantized: Collection[nn.Module],
) -> None:
    """Check that what a config asks for is so.

    Args:
        model (nn.Module): The stock model, in training mode.
        decisions (Mapping[nn.Module, Decision]): What becomes of each of its modules.
        rules (Rules): What decided it.
        quantized (Collection[nn.Module]): Layers that are going to be quantized.

    Raises:
        UserError: An option has no effect.
    """
    config, method = rules.config, rules.method
    check_together(
        lambda: _check_selectors(model, config, decisions),
        lambda: method is None or _check_patterns(model, method, decisions),
        lambda: method is None or _check_method(model, method, decisions, quantized),
        lambda: _check_head(model, config, rules),
        lambda: _check_norm(model, config, decisions, rules),
    )


def check_for_python(cfg) -> None:
    """Check that ``peft``, given to a function, says nothing that only a runner's hook does.

    Args:
        cfg (dict or PEFTConfig): The value; a PEFTConfig is what the hook has read.

    Raises:
        UserError: It does.
    """
    for name, remedy in _ONLY_THE_HOOK.items() if isinstance(cfg, Mapping) else ():
        if cfg.get(name, getattr(PEFTConfig, name)) != getattr(PEFTConfig, name):
            raise UserError(
                f'peft.{name}={cfg[name]!r} is read by PEFTInjectHook alone; in Python {remedy}'
            )


def _check_selectors(model: nn.Module, config: PEFTConfig, decisions) -> None:
    asked = {'targets': config.targets, 'exclude': config.exclude, 'head': config.head}
    for key, selectors in asked.items():
        for selector in selectors if isinstance(selectors, list) else ():
            hits = [
                decisions[m] for m in select(model, [selector], f'peft.{key}') if m in decisions
            ]
            # Where a norm follows a convolution SSF adapts that.
            frozen = [d for d in hits if d.action == 'freeze' and d.why != BEHIND]
            others = [d for d in hits if d.action != 'freeze']
            if key == 'exclude' and others and not frozen:
                raise UserError(
                    f'peft.exclude: {selector!r} means only layers that train all the '
                    f'same: {others[0].why}'
                )
            if key != 'exclude' and frozen and len(frozen) == len(hits):
                raise UserError(
                    f'peft.{key}: {selector!r} means only layers that stay frozen: {frozen[0].why}'
                )


def _check_patterns(model: nn.Module, method: AdapterMethod, decisions) -> None:
    for key in ('rank_pattern', 'alpha_pattern'):
        where = f'peft.method.{key}'
        patterns = {
            pattern: select(model, [pattern], where) for pattern in getattr(method, key, {})
        }
        # Of several for a layer the last one counts.
        last = {layer: pattern for pattern, layers in patterns.items() for layer in layers}
        for pattern, layers in patterns.items():
            hits = [m for m in layers if m in decisions]
            adapted = [m for m in hits if decisions[m].action == 'adapt']
            if not adapted:
                decided = [decisions[m] for m in hits]
                raise UserError(
                    f'{where}: {pattern!r} means only layers that are not adapted'
                    + (f' ({decided[0].action}: {decided[0].why})' if hits else '')
                    + '; leave it out, or name others'
                )
            if all(last[m] != pattern for m in adapted):
                others = sorted({last[m] for m in adapted})
                raise UserError(
                    f'{where}: {pattern!r} means only layers for which {others} behind '
                    'it count; the last one counts: put it behind them'
                )


def _check_method(model: nn.Module, method: AdapterMethod, decisions, quantized) -> None:
    """Check the options that only some kinds of layers read."""
    adapted = [m for m, decision in decisions.items() if decision.action == 'adapt']
    parameters = inspect.signature(type(method)).parameters
    for name in ('attention', 'dropout', 'compute'):
        value = getattr(method, name, None)
        if name not in parameters or _is_same(value, parameters[name].default):
            continue
        if not any(name in _options_of(layer, layer in quantized) for layer in adapted):
            kinds = sorted({type(layer).__name__ for layer in adapted})
            raise UserError(
                f'peft.method.{name}={value!r} does nothing in this '
                f'{type(model).__name__}: it is for other kinds of layers than those '
                f'that are adapted, {kinds}; leave it out'
            )


def _options_of(layer: nn.Module, is_quantized: bool) -> frozenset[str]:
    # A quantized weight is never added to, so there is only one way to compute.
    return require_adapted_class(layer).method_options - ({'compute'} if is_quantized else set())


def _is_same(value, default) -> bool:
    if isinstance(value, (list, tuple)):
        return set(value) == set(default or ())
    return value == default


def _check_head(model: nn.Module, config: PEFTConfig, rules: Rules) -> None:
    everything = config.method is None and config.targets == 'all'
    # Beside a list of targets everything else is frozen anyway.
    vain = config.head == 'freeze' and isinstance(config.targets, str)
    if not rules.head and (vain or (config.head == 'train' and not everything)):
        raise UserError(
            f'peft.head={config.head!r} does nothing: {type(model).__name__} has no '
            'part called head and none that could be taken for it. Name its prediction '
            'layers in peft.head, or leave it out'
        )


def _check_norm(model: nn.Module, config: PEFTConfig, decisions, rules: Rules) -> None:
    everything = config.method is None and config.targets == 'all'
    # 'train' is a word of full fine-tuning, of models without norms too.
    if config.norm == 'freeze' or (everything and config.norm == 'train'):
        return
    norms = [
        m
        for m, decision in decisions.items()
        if is_norm(m)
        and m not in rules.excluded
        and (m not in rules.head or rules.head_policy == 'adapt')
    ]
    # Some backbones keep theirs in eval mode whatever anybody says (norm_eval=True).
    moving = [m for m in norms if has_statistics(m) and (m.training or not can_freeze(m))]
    # SSF adapts those behind a convolution whatever the option says.
    affine = [
        m for m in norms if decisions[m].action == 'train' and decisions[m].why.startswith('norm=')
    ]
    could = dict(affine=affine, stats=moving, train=affine + moving)
    if not could[config.norm]:
        what = dict(
            affine='parameters that it would let train',
            stats='statistics that would move',
            train='parameters that it would let train, or statistics that would move',
        )
        kept = config.norm != 'affine' and any(map(has_statistics, norms))
        raise UserError(
            f'peft.norm={config.norm!r} does nothing in this {type(model).__name__}: '
            f'no norm outside its head has {what[config.norm]}'
            + (' (the model keeps them: norm_eval=True or the like)' if kept else '')
            + '; leave it out'
        )
