"""What a file with an adapter in it says of that adapter."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from ..adapters import build_method
from ..errors import UserError
from ..peft import (
    CLASS_COUNTS,
    DEFAULT_NAME,
    PEFTConfig,
    TuningState,
    inject,
    remove,
    require_state,
)
from ..values import nearest
from .base_weights import BaseRecord
from .hugging_face import SHARED, layers_without_form, shared_layers

FORMAT = 1


@dataclass
class AdapterRecord:
    """How to adapt a stock model so that an adapter's tensors fit, and on which base.

    Attributes:
        plan (dict): The part of ``peft`` that decides which tensors there are.
        adapted (list[str]): Names of the adapted layers.
        trained (list[str]): Names of the parameters that train fully.
        base (BaseRecord): Where the frozen weights come from.
        not_loaded (list[str]): State-dict keys whose layers train fully because the base had no
            weight for them. Other than ``base.not_in_base`` where a random base was asked for.
        class_names (list[str], optional): What the model predicts.
        class_counts (dict[str, dict[str, int]]): By module, those of its :data:`CLASS_COUNTS` that
            it has; empty in files that are older than this field.
        started_from (str, optional): The value of ``peft.adapter`` in that training; empty in files
            that are older than this field.
        keypoint_names (list[str], optional): What a model of poses predicts.
        from_hf (bool): Whether the file was written by Hugging Face's PEFT, and so knows neither
            the base nor ``peft``.
    """

    plan: dict
    adapted: list
    trained: list
    base: BaseRecord
    not_loaded: list
    class_names: list | None = None
    class_counts: dict = field(default_factory=dict)
    started_from: str | None = ''
    keypoint_names: list | None = None
    from_hf: bool = False

    @classmethod
    def of(
        cls,
        model: nn.Module,
        base: BaseRecord,
        class_names=None,
        started_from: str | None = '',
        keypoint_names=None,
    ) -> 'AdapterRecord':
        """Describe an adapted model."""
        state = require_state(model)
        return cls(
            state.config.plan(),
            list(state.adapted),
            list(state.trained),
            base,
            list(state.not_loaded),
            None if class_names is None else [str(name) for name in class_names],
            _class_counts(model),
            started_from,
            None if keypoint_names is None else [str(name) for name in keypoint_names],
        )

    def to_dict(self) -> dict:
        """Return a dict of plain values, of a record that is not of Hugging Face's."""
        return dict(
            format=FORMAT,
            plan=self.plan,
            adapted=self.adapted,
            trained=self.trained,
            base=self.base.to_dict(),
            not_loaded=self.not_loaded,
            class_names=self.class_names,
            class_counts=self.class_counts,
            **({} if self.started_from == '' else dict(started_from=self.started_from)),
            **({} if self.keypoint_names is None else dict(keypoint_names=self.keypoint_names)),
        )

    @classmethod
    def from_dict(cls, record: Mapping, source: str) -> 'AdapterRecord':
        """Read a record.

        Args:
            record (dict): The result of :meth:`to_dict`.
            source (str): The file it comes from, for messages.

        Returns:
            AdapterRecord: What it says.

        Raises:
            UserError: It is of a newer format, or damaged.
        """
        try:
            if record['format'] > FORMAT:
                raise UserError(f'{source} was written by a newer version of mmadapt; update it')
            plan = dict(record['plan'])
            if plan['method'] is not None:
                plan['method'] = build_method(plan['method']).to_dict()
            return cls(
                plan,
                list(record['adapted']),
                list(record['trained']),
                BaseRecord(**record['base']),
                list(record['not_loaded']),
                record['class_names'],
                {
                    str(name): {str(key): int(value) for key, value in counts.items()}
                    for name, counts in record.get('class_counts', {}).items()
                },
                record.get('started_from', ''),
                record.get('keypoint_names'),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f'{source}: its description of the adapter is damaged ({error})'
            ) from None

    def inject_into(self, model: nn.Module, source: str, name: str = DEFAULT_NAME):
        """Adapt a stock model, or the base of adapters, as the recorded one was adapted.

        Args:
            model (nn.Module): A stock model.
            source (str): Where the record comes from, for messages.
            name (str): The adapter's name.

        Returns:
            Report: What was adapted.

        Raises:
            UserError: The model has not the layers that were adapted or trained.
        """
        self.check_layers(model, source)
        # Layers without a base weight train fully; which ones they were is known, whatever file
        # the base comes from today.
        report = inject(
            model,
            PEFTConfig.parse({**self.plan, 'allow_random_base': True}),
            not_loaded=self.not_loaded,
            weights_follow=True,
            name=name,
            check_options=False,
        )
        try:
            self.check_same(require_state(model), source)
            self.check_form(model, source)
        except UserError:
            remove(model, name)
            raise
        return report

    def check_layers(self, model: nn.Module, source: str) -> None:
        """Check that a model has the layers that were adapted or trained.

        Args:
            model (nn.Module): The model.
            source (str): Where the record comes from, for messages.

        Raises:
            UserError: It has not.
        """
        modules = {name for name, _ in model.named_modules()}
        layers = [('adapts', layer) for layer in self.adapted] + [
            ('has trained', key.rpartition('.')[0]) for key in self.trained
        ]
        for does, layer in layers:
            if layer not in modules:
                raise UserError(
                    f'{source} {does} {layer}, which this model does not have '
                    f'(nearest: {nearest(layer, modules)}); it belongs to another model'
                )

    def check_form(self, model: nn.Module, source: str) -> None:
        """Check that what Hugging Face's PEFT has written means the same in an adapted model.

        Args:
            model (nn.Module): The model.
            source (str): Where the record comes from, for messages.

        Raises:
            UserError: PEFT computes one of its layers otherwise.
        """
        if not self.from_hf:
            return
        trained = {key.rpartition('.')[0] for key in self.trained}
        reasons = {
            **layers_without_form(model),
            **dict.fromkeys(sorted(trained & shared_layers(model)), SHARED),
        }
        if reasons:
            layer, reason = next(iter(reasons.items()))
            raise UserError(
                f"{source} was written by Hugging Face's PEFT, which computes {layer} "
                f'and {len(reasons) - 1} more of its layers otherwise than here '
                f'({layer}: {reason})'
            )

    def check_same(self, state: TuningState, source: str, apart_from=()) -> None:
        """Check that a model was adapted as the recorded one was.

        Args:
            state (TuningState): The adapter of the model.
            source (str): The file, for messages.
            apart_from (Collection[str]): State-dict keys whose layers may differ.

        Raises:
            UserError: Another method, rank, set of layers or of trained parameters.
        """
        here, there = (
            _what_decides_tensors(plan, self.from_hf) for plan in (state.config.plan(), self.plan)
        )
        differences = [
            f'{name}: {there.get(name)!r} there, {value!r} in this config'
            for name, value in here.items()
            if there.get(name) != value
        ]
        if differences:
            raise UserError(
                f'{source} was trained with another `peft`; '
                + '; '.join(differences)
                + f'. Write the same; or merge it first, {merge_command(source)}, and '
                'start from load_from=merged.pth; or start anew'
                + (
                    f' from its base, load_from={self.base.load_from!r}'
                    if self.base.load_from
                    else ''
                )
            )
        apart = {key.rpartition('.')[0] for key in apart_from}
        layers = {
            layer for layer in set(self.adapted) ^ set(state.adapted) if layer not in apart
        } or {
            key
            for key in set(self.trained) ^ set(state.trained)
            if key.rpartition('.')[0] not in apart
        }
        if layers:
            raise UserError(
                f'{source} and this model differ in what is adapted or trained, first '
                f'in {sorted(layers)[0]}: the model config is another one'
            )


def merge_command(source: str) -> str:
    """Return the command that merges a file with an adapter in it into its base."""
    return f'mmadapt merge CONFIG {source} merged.pth'


def _what_decides_tensors(plan: dict, from_hf: bool) -> dict:
    # A file of PEFT's says neither how its layers were chosen nor how they began, nor which of
    # their factors was trained.
    unsaid = {'dropout', 'dropout_mode', 'compute'}
    unsaid |= {'init', 'freeze_A', 'attention'} if from_hf else set()
    method = plan['method'] and {
        key: value for key, value in plan['method'].items() if key not in unsaid
    }
    return dict(method=method) if from_hf else {**plan, 'method': method}


def _class_counts(model: nn.Module) -> dict[str, dict[str, int]]:
    # Only what can be set: some heads compute one of these from another.
    counts = {
        name: {
            key: value
            for key, value in vars(module).items()
            if key in CLASS_COUNTS and type(value) is int
        }
        for name, module in model.named_modules()
    }
    return {name: values for name, values in counts.items() if values}
