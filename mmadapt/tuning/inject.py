"""Adapting a model: the one function behind the hook, the wrapper and the Python interface."""

from collections.abc import Collection
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ..adapters import AdapterMethod
from ..errors import UserError
from .config import PEFTConfig
from .heads import find_heads, resolve_head_policy
from .norms import freeze_statistics, is_norm
from .report import LayerReport, Report
from .state import TuningState, get_state, set_state
from .targets import has_own_parameters, module_names, select


def inject(model: nn.Module, cfg, not_loaded: Collection[str] = ()) -> Report:
    """Adapt a model in place, as the ``peft`` key says.

    The model keeps its modules, names and stock state-dict keys. Until it is trained it computes
    what it computed before.

    Args:
        model (nn.Module): A detector or any other model, not wrapped for distribution.
        cfg (dict or PEFTConfig): The value of ``peft``.
        not_loaded (Collection[str]): State-dict keys for which no pretrained weight is there. Their
            layers train fully, wherever they are.

    Returns:
        Report: What was adapted, trained and frozen, and why.

    Raises:
        UserError: The config is wrong, does not fit the model, or the model is adapted already.
    """
    if get_state(model) is not None:
        raise UserError(f'this {type(model).__name__} is adapted already; call mmadapt.remove '
                        'first')
    config = PEFTConfig.parse(cfg)
    method = config.build_method()
    mode = model.training
    # Models that freeze stages do it (again) in train(); what train() freezes cannot be adapted.
    model.train()
    state = TuningState(config, required_grad={
        name: p.requires_grad for name, p in model.named_parameters()})
    rules = _Rules(model, config, method, not_loaded)
    report = Report(warnings=rules.warnings)
    for module, names in module_names(model).items():
        if has_own_parameters(module):
            report.layers.append(_apply(module, names, rules(module, names), method, state))
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    adapters = {f'{layer}.{name}' for layer in state.adapted
                for name in model.get_submodule(layer).adapter_names}
    state.trained = sorted(trainable - adapters)
    model.train()
    refrozen = sorted(trainable - {n for n, p in model.named_parameters() if p.requires_grad})
    if refrozen:
        raise UserError(f'{type(model).__name__}.train() freezes {refrozen[0]} and '
                        f'{len(refrozen) - 1} more parameters that should train; name their layers '
                        'in peft.exclude')
    model.train(mode)
    if not trainable:
        raise UserError('peft leaves nothing to train: no layer is adapted, the head is frozen')
    set_state(model, state)
    report.count(model)
    return report


@dataclass
class _Decision:
    action: str
    why: str
    statistics: bool = True   # whether a norm's statistics may move


class _Rules:
    """Decides for each module, in the order of precedence, what becomes of it."""

    def __init__(self, model, config: PEFTConfig, method: AdapterMethod, not_loaded) -> None:
        self.config, self.method = config, method
        self.not_loaded = {key for key in not_loaded if not key.endswith('num_batches_tracked')}
        self.warnings: list[str] = []
        heads = find_heads(model)
        self.head_policy, self.head_why = resolve_head_policy(
            config.head, heads, method is not None)
        self.head = {m for head in heads.values() for m in head.modules()}
        self.trained_head = set()
        if isinstance(self.head_policy, list):
            self.trained_head = select(model, self.head_policy, 'peft.head')
            self.head_policy = 'adapt' if method is not None else 'freeze'
        self.excluded = select(model, config.exclude, 'peft.exclude')
        self.targets = self._select_targets(model)
        if not heads and config.head == 'auto':
            self.warnings.append(
                f'WARNING: {type(model).__name__} has no part called head; every layer of it '
                'is treated as its body. Name its prediction layers in peft.head')

    def _select_targets(self, model) -> set:
        """Return the layers that are named one by one; None if ``targets`` is a word."""
        if isinstance(self.config.targets, str):
            return None
        chosen = set()
        for selector in self.config.targets:
            hits = select(model, [selector], 'peft.targets')
            if self.method is not None:
                usable = {m for m in hits if self.method.layer_class(m)}
                if not usable:
                    kinds = sorted({type(m).__name__ for m in hits})
                    raise UserError(f'peft.targets: {selector!r} means layers of the types '
                                    f'{kinds}, which {type(self.method).__name__} cannot adapt')
                hits = usable
            if all(_frozen_by_model(m) for m in hits):
                raise UserError(
                    f'peft.targets: {selector!r} means only layers that the model itself keeps '
                    'frozen (frozen_stages or the like); set model.backbone.frozen_stages=-1')
            chosen |= hits
        return chosen

    def __call__(self, module: nn.Module, names: list[str]) -> _Decision:
        own = set(module._parameters) | (set(module._buffers) if is_norm(module) else set())
        missing = any(f'{name}.{key}'.lstrip('.') in self.not_loaded
                      for name in names for key in own)
        if _frozen_by_model(module):
            if missing and not self.config.allow_random_base:
                raise UserError(
                    f'{names[0]} is kept frozen by the model (frozen_stages or the like) but no '
                    'pretrained weight was loaded into it; load one, unfreeze it in the model '
                    'config, or set peft.allow_random_base=True')
            return _Decision('freeze', 'frozen by the model', statistics=False)
        if missing:
            return _Decision('train', 'no pretrained weight')
        if module in self.excluded:
            return _Decision('freeze', 'peft.exclude', statistics=False)
        if self.targets is not None and module in self.targets:
            return _Decision('adapt' if self.method else 'train', 'peft.targets')
        if module in self.trained_head:
            return _Decision('train', 'peft.head')
        if module in self.head and self.head_policy != 'adapt':
            moves = self.head_policy == 'train'
            return _Decision(self.head_policy, self.head_why, statistics=moves)
        if is_norm(module):
            return self._norm()
        return self._body(module)

    def _norm(self) -> _Decision:
        policy = self.config.norm
        affine, statistics = policy in ('affine', 'train'), policy in ('stats', 'train')
        return _Decision('train' if affine else 'freeze', f'norm={policy!r}', statistics)

    def _body(self, module: nn.Module) -> _Decision:
        word = self.config.targets
        if self.method is None:
            if word == 'all':
                return _Decision('train', "targets='all'")
            wanted = isinstance(word, str) and _is_kind(module, word)
            return _Decision('train' if wanted else 'freeze', 'no method' if not wanted else word)
        if not isinstance(word, str):
            return _Decision('freeze', 'not in peft.targets')
        if word == 'auto' and getattr(module, 'groups', 1) > 1 and isinstance(module, _ConvNd):
            return _Decision('train', 'grouped convolution')
        if self.method.layer_class(module) is None:
            return _Decision('freeze', f'{type(self.method).__name__} has no form for a '
                                       f'{type(module).__name__}')
        if word in ('auto', 'all') or _is_kind(module, word):
            return _Decision('adapt', f'targets={word!r}')
        return _Decision('freeze', f'not in targets={word!r}')


def _is_kind(module: nn.Module, word: str) -> bool:
    kinds = {'all-linear': nn.Linear, 'all-conv': _ConvNd}
    return word in kinds and isinstance(module, kinds[word])


def _frozen_by_model(module: nn.Module) -> bool:
    return not any(p.requires_grad for p in module.parameters(recurse=False))


def _apply(module: nn.Module, names, decision: _Decision, method, state) -> LayerReport:
    parameters = list(module.parameters(recurse=False))
    weight = getattr(module, 'weight', None)
    shape = tuple((parameters[0] if weight is None else weight).shape)
    report = LayerReport(names[0], type(module).__name__, shape, decision.action, decision.why,
                         parameters=sum(p.numel() for p in parameters), names=len(names))
    for parameter in parameters:
        parameter.requires_grad_(decision.action == 'train' and parameter.requires_grad)
    if is_norm(module) and not decision.statistics:
        freeze_statistics(module, names[0])
    if decision.action == 'adapt':
        report.extra = method.extra_parameters(module)
        report.rank = getattr(method, 'r', 0)
        method.attach(module)
        state.adapted.append(names[0])
    return report
