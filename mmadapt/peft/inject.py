"""Adapting a model: the one function behind the hook, the wrapper and the Python interface."""

import math
from collections.abc import Collection
from dataclasses import replace

from torch import nn

from ..adapters import adapt_layer, adapted_class, adapted_layer, require_adapted_class
from ..errors import UserError
from ..folding import find_sites, fold_norms
from ..norms import (
    freeze_statistics,
    frozen_class,
    has_statistics,
    is_norm,
    mode_of,
    set_mode,
    statistics_move,
)
from .changes import Snapshot
from .config import PEFTConfig
from .effects import check_effects, check_for_python
from .formless import formless_warning
from .guards import put_up_guards
from .named import active_adapter, adapter_names, check_name, set_adapter
from .quantized_base import layers_to_quantize, quantize_base
from .recomputation import let_gradients_pass
from .report import LayerReport, Report
from .rules import BEHIND, NO_FORM, TIED, Decision, Rules
from .state import TuningState, add_state, drop_state, get_adapters
from .targets import has_own_parameters

DEFAULT_NAME = 'default'
_Plan = list[tuple[nn.Module, list[str], Decision]]


def inject(
    model: nn.Module,
    cfg,
    not_loaded: Collection[str] = (),
    weights_follow: bool = False,
    name: str = DEFAULT_NAME,
    keep_base: bool = True,
    check_options: bool = True,
) -> Report:
    """Adapt a model in place, as the ``peft`` key says.

    The model keeps its modules, names and stock state-dict keys. Until it is trained it computes
    what it computed before. After an error it is what it was before.

    Args:
        model (nn.Module): A detector or any other model, not wrapped for distribution.
        cfg (dict or PEFTConfig): The value of ``peft``.
        not_loaded (Collection[str]): State-dict keys for which no pretrained weight is there. Their
            layers train fully, wherever they are.
        weights_follow (bool): Whether weights are going to be loaded. What ``peft.quant`` asks for
            is then left to :func:`~mmadapt.peft.quantized_base.quantize_base`, and there are no
            base values to keep. Defaults to False.
        name (str): The adapter's name, for :func:`mmadapt.set_adapter`. It is active
            afterwards. Defaults to ``'default'``.
        keep_base (bool): Whether to keep the values that the base model has in what trains fully,
            which costs that much memory. Without them the adapter cannot be switched off. Defaults
            to True.
        check_options (bool): Whether options without effect are refused. What a file records is
            what was done; it is not asked for its sense. Defaults to True.

    Returns:
        Report: What was adapted, trained and frozen, and why.

    Raises:
        UserError: The config is wrong, does not fit the model, or the model is adapted already.
    """
    check_name(name)
    if name in adapter_names(model):
        raise UserError(
            f'this {type(model).__name__} is adapted already; call mmadapt.remove '
            'first, or give the new adapter another name'
        )
    config = PEFTConfig.parse(cfg)
    check_for_python(cfg)
    method = config.build_method()
    _check_base_is_shared(model, config)
    state = TuningState(config, not_loaded=sorted(not_loaded))
    previous, modes = active_adapter(model), {module: mode_of(module) for module in model.modules()}
    set_adapter(model, None)
    before, flags = Snapshot(model), {key: p.requires_grad for key, p in model.named_parameters()}
    # Models that freeze stages do it (again) in train(); what train() freezes cannot be adapted.
    model.train()
    try:
        rules = Rules(model, config, method, not_loaded)
        plan = [
            (module, names, rules(module, names))
            for module, names in rules.names.items()
            if has_own_parameters(module) or has_statistics(module)
        ]
        if method is not None and method.adapts_norms:
            plan = _behind_norms(model, plan)
        _check(model, plan, config, method)
        options = config.quant_options()
        if options is not None:
            frozen = [
                module
                for module, _, decision in plan
                if decision.action != 'train' and module not in rules.tied
            ]
            state.quantized = layers_to_quantize(model, frozen, options)
        if check_options:
            check_effects(
                model,
                {module: decision for module, _, decision in plan},
                rules,
                {model.get_submodule(layer) for layer in state.quantized},
            )
        formless = [
            module
            for module, _, decision in plan
            if decision.action == 'freeze' and NO_FORM in decision.why
        ]
        report = Report(
            warnings=[*rules.warnings, *formless_warning(model, formless, type(method).__name__)]
        )
        add_state(model, name, state, flags)
        _apply(model, plan, rules, state, report)
        report.count(model)
        _keep_base(model, before, state, keep_base and not weights_follow)
        remember(model, before, state, quantize=not weights_follow)
        if not weights_follow:
            for layer in set(state.quantized) & set(state.adapted):
                adapted_layer(model, layer).reset_adapter()
    except Exception:
        if name in adapter_names(model):
            drop_state(model, name)
        before.restore()
        set_adapter(model, previous)
        raise
    finally:
        for module, mode in modes.items():
            set_mode(module, mode)
    return report


def remember(model: nn.Module, before: Snapshot, state: TuningState, quantize: bool) -> None:
    """Note what an adapter has changed in its model.

    Args:
        model (nn.Module): The model, adapted.
        before (Snapshot): What it was.
        state (TuningState): The adapter.
        quantize (bool): Whether to quantize now what ``peft.quant`` asks for. For the first adapter
            that is no change of its own but one of the base, which is not kept in both forms.
    """
    if len(adapter_names(model)) > 1 and quantize:
        quantize_base(model)
    before.reset_flags()
    state.changes = before.changes()
    if quantize:
        quantize_base(model)


def _keep_base(model: nn.Module, before: Snapshot, state: TuningState, keep: bool) -> None:
    modules = list(model.modules())
    norms = {module for module in modules if is_norm(module)}
    moving = [b for module in norms if statistics_move(module) for b in module.buffers()]
    state.keeps_base = keep or not (state.trained or moving)
    if keep:
        # A module may keep a statistic in a buffer of its own that no rule knows of.
        unknown = [
            b for module in modules if module not in norms for b in module.buffers(recurse=False)
        ]
        before.give_copies([*(p for p in model.parameters() if p.requires_grad), *moving, *unknown])


def _check_base_is_shared(model: nn.Module, config: PEFTConfig) -> None:
    adapters = get_adapters(model)
    for name, other in () if adapters is None else adapters.states.items():
        if other.config.quant_options() != config.quant_options():
            raise UserError(
                f'all adapters of a model share its base: {name!r} is for '
                f'peft.quant={other.config.quant!r}, this one for {config.quant!r}'
            )


def _check(model: nn.Module, plan: _Plan, config: PEFTConfig, method) -> None:
    """Find whatever is wrong before anything is changed."""
    adapted = {module for module, _, decision in plan if decision.action == 'adapt'}
    if method is not None and not adapted:
        kinds = sorted({type(module).__name__ for module, _, _ in plan})
        raise UserError(
            f'{type(method).__name__} has no layer to adapt in this '
            f'{type(model).__name__}: peft.targets={config.targets!r}, '
            f'peft.exclude={config.exclude!r}, its layers are of the types {kinds}; '
            'peft.method=None is for adapting nothing'
        )
    if not adapted and not any(
        p.requires_grad
        for module, _, decision in plan
        for p in module.parameters(recurse=False)
        if decision.action == 'train'
    ):
        tied = [names[0] for _, names, decision in plan if decision.why == TIED]
        raise UserError(
            'peft leaves nothing to train: no layer is adapted, the head is frozen'
            + (
                f" ({tied[0]} shares its weight with the body: peft.head='train' trains both)"
                if tied
                else ''
            )
        )
    for module, names, decision in plan:
        if is_norm(module) and not decision.statistics:
            frozen_class(module, names[0])
    for name, module in model.named_modules():
        if type(module).__module__ == 'mmcv.ops.sync_bn':
            raise UserError(
                f"{name} is mmcv's SyncBatchNorm, which cannot be kept frozen; write "
                "sync_bn='torch' in the place of 'mmcv', and SyncBN of MMSyncBN"
            )
        remedy = _remedy_if_bypassing(module)
        if remedy and not adapted.isdisjoint(module.modules()):
            raise UserError(
                f'{name}, a {type(module).__name__}, uses the weights of its layers '
                f'without calling them: their adapters would do nothing; {remedy}'
            )


def _behind_norms(model: nn.Module, plan: _Plan) -> _Plan:
    """Move adapters from convolutions to the norms that their outputs go into."""
    decisions = {module: decision for module, _, decision in plan}
    for site in find_sites(model):
        conv, norm = decisions.get(site.conv), decisions.get(site.norm)
        if conv is None or norm is None or norm.why == 'peft.exclude':
            continue
        if adapted_class(site.norm) is None:
            continue  # another library's own, such as MMPretrain's LayerNorm2d
        if conv.action == 'adapt' or conv.why == BEHIND:
            decisions[site.conv] = replace(conv, action='freeze', why=BEHIND)
            # A norm that would train trains through its adapter, which can say all it can.
            if norm.action == 'freeze' or norm.why.startswith('norm='):
                decisions[site.norm] = replace(
                    norm, action='adapt', why=f'behind a convolution; {conv.why}'
                )
    for module, decision in decisions.items():
        if (
            decision.action == 'adapt'
            and decision.why != 'peft.targets'
            and require_adapted_class(module).standardizes
            and module.bias is None
        ):
            decisions[module] = replace(
                decision, action='freeze', why='standardizes its weight and has no bias'
            )
    return [(module, names, decisions[module]) for module, names, _ in plan]


def _remedy_if_bypassing(module: nn.Module) -> str | None:
    if getattr(module, 'efficient_conv_bn_eval_forward', None) is not None:
        return 'build it with efficient_conv_bn_eval=False'
    # In eval mode torch runs it as one fused operator.
    return 'put it into peft.exclude' if isinstance(module, nn.TransformerEncoderLayer) else None


def _apply(model: nn.Module, plan: _Plan, rules: Rules, state: TuningState, report: Report) -> None:
    # A parameter that stands in two modules trains if one of them does.
    trained = {
        p
        for module, _, decision in plan
        if decision.action == 'train'
        for p in module.parameters(recurse=False)
        if p.requires_grad
    }
    for module, names, decision in plan:
        if decision.action == 'freeze' and not trained.isdisjoint(module.parameters(recurse=False)):
            decision = replace(decision, action='train', why=f'{TIED}, which trains')
        layer = _report(module, names, decision)
        report.layers.append(layer)
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(parameter in trained)
        if is_norm(module) and not decision.statistics:
            freeze_statistics(module, names[0])
        if decision.action == 'adapt':
            method = rules.method_for(module)
            adapt_layer(module, require_adapted_class(module), method)
            state.adapted.append(names[0])
            layer.rank = method.r
            own = adapted_layer(module, '').adapter_names
            layer.extra = sum(
                p.numel() for name, p in module._parameters.items() if p is not None and name in own
            )
    if rules.config.fold_norm:
        fold_norms(model)
    put_up_guards(model)
    let_gradients_pass(model)
    report.warnings += _lines_on_rank(report.layers)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    adapters = {
        f'{layer}.{name}'.lstrip('.')
        for layer in state.adapted
        for name in adapted_layer(model, layer).adapter_names
    }
    state.trained = sorted(trainable - adapters)
    model.train()
    refrozen = sorted(trainable - {n for n, p in model.named_parameters() if p.requires_grad})
    if refrozen:
        raise UserError(
            f'{type(model).__name__}.train() freezes {refrozen[0]} and '
            f'{len(refrozen) - 1} more parameters that should train; name their layers '
            'in peft.exclude'
        )


def _report(module: nn.Module, names, decision: Decision) -> LayerReport:
    parameters = list(module.parameters(recurse=False))
    weight = getattr(module, 'weight', None)
    weight = parameters[0] if weight is None and parameters else weight
    return LayerReport(
        names[0],
        type(module).__name__,
        () if weight is None else tuple(weight.shape),
        decision.action,
        decision.why,
        parameters=sum(p.numel() for p in parameters),
        names=len(names),
    )


def _lines_on_rank(layers: list[LayerReport]) -> list[str]:
    full = [
        layer
        for layer in layers
        if layer.rank and layer.rank > min(layer.shape[0], math.prod(layer.shape[1:]))
    ]
    if not full:
        return []
    # No warning: the default does so in the narrow layers of a small model, and nothing is lost.
    first = full[0]
    rank = min(first.shape[0], math.prod(first.shape[1:]))
    return [
        f'r={first.rank} is a higher rank than {len(full)} narrow layers can have, first '
        f'{first.name} ({"x".join(map(str, first.shape))}: {rank}): harmless, some parameters '
        f'too many; in the config, rank_pattern={{{first.name!r}: {rank}}} of peft.method saves '
        'those of the first'
    ]
