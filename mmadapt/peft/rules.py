"""What becomes of each module: the rules behind ``peft``, in the order of precedence.

Nothing is changed here; :func:`~mmadapt.peft.inject.inject` does that once all is decided.
"""

from collections.abc import Collection
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ..adapters import AdapterMethod, adapted_class, is_linear
from ..errors import UserError
from ..norms import is_norm
from .config import PEFTConfig
from .heads import find_heads, guess_heads, head_warnings, resolve_head_policy
from .read_layers import layers_read
from .shared import keys_without_weight, layers_with_a_common_parameter
from .targets import has_own_parameters, module_names, select

TIED = 'shares its weight with another layer'
NO_FORM = 'has no form for a'
BEHIND = 'its norm is adapted'


@dataclass
class Decision:
    """What becomes of one module.

    Attributes:
        action (str): ``'adapt'``, ``'train'`` or ``'freeze'``.
        why (str): The rule that decided.
        statistics (bool): Whether the statistics of a norm layer may move.
    """

    action: str
    why: str
    statistics: bool = True


class Rules:
    """Decides for each module what becomes of it.

    Args:
        model (nn.Module): The stock model, after its ``train()`` has frozen what it freezes.
        config (PEFTConfig): The value of ``peft``.
        method (AdapterMethod, optional): The method that it names.
        not_loaded (Collection[str]): State-dict keys without a pretrained weight.

    Raises:
        UserError: A name in the config means nothing in this model.
    """

    def __init__(
        self,
        model: nn.Module,
        config: PEFTConfig,
        method: AdapterMethod | None,
        not_loaded: Collection[str],
    ) -> None:
        self.config, self.method = config, method
        self.not_loaded = {
            key
            for key in keys_without_weight(model, not_loaded)
            if not key.endswith('num_batches_tracked')
        }
        self.warnings: list[str] = []
        self.tied = layers_with_a_common_parameter(model)
        self.names = module_names(model)
        self.read_not_called = layers_read(model)
        self.out_projections = {
            m.out_proj for m in self.names if isinstance(m, nn.MultiheadAttention)
        }
        known = find_heads(model)
        heads = known or guess_heads(model)
        self.head_policy, self.head_why = resolve_head_policy(
            config.head, heads, method is not None, guessed=not known and bool(heads)
        )
        if not known:
            self.warnings += head_warnings(model, heads, config.head)
        self.head = {m for head in heads.values() for m in head.modules()}
        self.trained_head = set()
        if isinstance(self.head_policy, list):
            self.trained_head = select(model, self.head_policy, 'peft.head')
            self.head_policy = 'adapt' if method is not None else 'freeze'
        self.excluded = select(model, config.exclude, 'peft.exclude')
        self.targets = self._select_targets(model)
        self.overrides = self._select_overrides(model)

    def _select_targets(self, model) -> set | None:
        """Return the layers that are named one by one; None if ``targets`` is a word."""
        if isinstance(self.config.targets, str):
            return None
        chosen = set()
        for selector in self.config.targets:
            hits = select(model, [selector], 'peft.targets')
            usable = {m for m in hits if self._is_usable(m)}
            if not usable:
                raise UserError(f'peft.targets: {selector!r} means {self._why_not_usable(hits)}')
            if all(_frozen_by_model(m) for m in usable):
                raise UserError(
                    f'peft.targets: {selector!r} means only layers that the model itself keeps '
                    'frozen (frozen_stages or the like); set model.backbone.frozen_stages=-1'
                )
            chosen |= usable
        return chosen

    def _is_usable(self, module: nn.Module) -> bool:
        if self.method is None:
            # Norms outside the head are governed by peft.norm alone.
            return module in self.head or not is_norm(module)
        return (
            self._has_form(module)
            and module not in self.tied
            and module not in self.read_not_called
        )

    def _has_form(self, module: nn.Module) -> bool:
        method = self.method
        return method is not None and adapted_class(module) is not None and method.supports(module)

    def _why_not_usable(self, hits) -> str:
        if self.method is None:
            return 'only norm layers, which peft.norm governs'
        read = [m for m in hits if m in self.read_not_called]
        if read:
            return (
                f'only layers whose weights {self.read_not_called[read[0]]} reads without '
                'calling them, where an adapter would do nothing'
            )
        if any(self._has_form(m) for m in hits):
            return (
                'only layers that share their weight with other layers, which cannot be '
                'adapted one by one'
            )
        if all(m in self.out_projections for m in hits):
            return (
                'only the output projection of a MultiheadAttention, which that reads without '
                "calling it: name the attention, and choose with peft.method.attention=['out']"
            )
        kinds = sorted({type(m).__name__ for m in hits})
        return f'layers of the types {kinds}, which {type(self.method).__name__} cannot adapt'

    def method_for(self, module: nn.Module) -> AdapterMethod:
        """Return the method with the rank and alpha that it has for a layer."""
        assert self.method is not None  # else nothing is adapted
        return self.method.for_layer(self.overrides.get(module, {}))

    def _select_overrides(self, model) -> dict[nn.Module, dict]:
        """Return what rank_pattern and alpha_pattern say of single layers."""
        overrides: dict[nn.Module, dict] = {}
        for key, argument in (('rank_pattern', 'r'), ('alpha_pattern', 'alpha')):
            for pattern, value in getattr(self.method, key, {}).items():
                for module in select(model, [pattern], f'peft.method.{key}'):
                    overrides.setdefault(module, {})[argument] = value
        return overrides

    def __call__(self, module: nn.Module, names: list[str]) -> Decision:
        """Decide what becomes of a module.

        Args:
            module (nn.Module): It.
            names (list[str]): The names under which it stands in the model.

        Returns:
            Decision: What is done with it, and why.

        Raises:
            UserError: The model keeps it frozen though it has no pretrained weight.
        """
        own = set(module._parameters) | (set(module._buffers) if is_norm(module) else set())
        missing = any(
            f'{name}.{key}'.lstrip('.') in self.not_loaded for name in names for key in own
        )
        in_head = module in self.head and self.head_policy != 'adapt'
        moves = self.head_policy == 'train' if in_head else self.config.norm in ('stats', 'train')
        if _frozen_by_model(module):
            if missing and module in self.head and 'weight' not in own:
                # What is no layer's weight (DSNT's ramps, STDC's fusion kernel) is not random.
                return Decision('freeze', 'a constant of the head')
            if missing and not self.config.allow_random_base:
                raise UserError(
                    f'{names[0]} is kept frozen by the model (frozen_stages or the like) but no '
                    'pretrained weight was loaded into it; load one, unfreeze it in the model '
                    'config, or set peft.allow_random_base=True'
                )
            return Decision('freeze', 'frozen by the model', statistics=moves)
        if missing:
            return Decision('train', 'no pretrained weight')
        if module in self.excluded:
            return Decision('freeze', 'peft.exclude', statistics=False)
        if self.targets is not None and module in self.targets:
            if self.method is None:
                return Decision('train', 'peft.targets')
            return Decision('adapt', 'peft.targets', statistics=moves)
        if module in self.trained_head:
            return Decision('train', 'peft.head')
        if in_head:
            body = [m for m in self.tied.get(module, ()) if m not in self.head]
            if body and self.head_policy == 'train' and self.config.head != 'train':
                return self._keep_tied(names[0], self.names[body[0]][0])
            return Decision(self.head_policy, self.head_why, statistics=moves)
        if is_norm(module):
            affine = self.config.norm in ('affine', 'train')
            return Decision('train' if affine else 'freeze', f'norm={self.config.norm!r}', moves)
        return self._body(module, names[0])

    def _body(self, module: nn.Module, name: str) -> Decision:
        word = self.config.targets
        if self.method is None:
            if word == 'all':
                return Decision('train', "targets='all'")
            wanted = word in ('all-linear', 'all-conv') and _is_kind(module, word)
            return Decision(
                'train' if wanted else 'freeze', f'targets={word!r}' if wanted else 'no method'
            )
        if not isinstance(word, str):
            return Decision('freeze', 'not in peft.targets')
        if word == 'auto' and getattr(module, 'groups', 1) > 1 and isinstance(module, _ConvNd):
            return Decision('train', 'grouped convolution')
        if not self._has_form(module):
            return Decision(
                'freeze', f'{type(self.method).__name__} {NO_FORM} {type(module).__name__}'
            )
        if module in self.tied:
            return Decision('freeze', TIED)
        if _is_kind(module, word):
            if module in self.read_not_called:
                return self._leave_out(name, self.read_not_called[module])
            return Decision('adapt', f'targets={word!r}')
        return Decision('freeze', f'not in targets={word!r}')

    def _keep_tied(self, name: str, other: str) -> Decision:
        self.warnings.append(
            f'WARNING: {name} of the head shares its weight with {other}: both '
            "stay frozen; peft.head='train' trains both"
        )
        return Decision('freeze', TIED)

    def _leave_out(self, name: str, reader: str) -> Decision:
        line = (
            f'WARNING: {reader} reads the weights of such layers as {name} without calling '
            'them, where an adapter would do nothing: they stay frozen'
        )
        if not any(f' {reader} reads the weights' in other for other in self.warnings):
            self.warnings.append(line)
        return Decision('freeze', f'read by {reader}, not called')


def _is_kind(module: nn.Module, word: str) -> bool:
    # An embedding is not among them: models read its weight as often as they call it, and what is
    # only read cannot be adapted.
    linear = isinstance(module, (nn.Linear, nn.MultiheadAttention)) or is_linear(module)
    conv = isinstance(module, _ConvNd) or hasattr(module, 'deform_groups')
    return {'all-linear': linear, 'all-conv': conv}.get(word, linear or conv)


def _frozen_by_model(module: nn.Module) -> bool:
    return has_own_parameters(module) and not any(
        p.requires_grad for p in module.parameters(recurse=False)
    )
