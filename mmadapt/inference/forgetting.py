"""What is left of what a base knew: its own data, with adapters on and off, or with other weights.

A model that was trained for other classes still finds those of the base that it has by name. What
it predicts for them is counted under the base's labels; what it has lost counts as not found.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from rich.table import Table
from torch import Tensor, nn

from ..classes import names_of_checkpoint
from ..config_model import build_model
from ..errors import UserError
from ..files import is_adapter, load_adapter, read_adapter, read_checkpoint
from ..files.base_weights import lacking_keys
from ..files.prefix import with_full_keys
from ..logs import say
from ..peft import fit_class_counts, set_adapter
from ..runs import unwrap, without_averages
from .resident import open_resident

_BASE = 'base'
_COUNTED = 'it knows boxes, masks, label maps and classes of images'
_SHOWN = 3


@dataclass
class Case:
    """One measurement on the base's own data.

    Args:
        name (str): What was measured.
        kept (int): How many of the base's classes it knows by name.
        metrics (dict[str, float]): What the evaluator gives.
    """

    name: str
    kept: int
    metrics: dict[str, float]


def parse_cases(words: Sequence[str]) -> dict[str, str]:
    """Read what was typed behind ``--forgetting``.

    Args:
        words (Sequence[str]): ``NAME=PLACE``, an adapter folder or a checkpoint.

    Returns:
        dict[str, str]: Places by name.

    Raises:
        UserError: One is something else, or a name comes twice.
    """
    cases: dict[str, str] = {}
    for word in words:
        name, equals, place = word.partition('=')
        if not (equals and name and place):
            raise UserError(
                f'--forgetting {word}: write NAME=PLACE, an adapter folder or a checkpoint, for '
                'instance face=work_dirs/face/adapter'
            )
        if name in cases:
            raise UserError(f'--forgetting names {name} twice')
        if name == _BASE:
            raise UserError(
                f'--forgetting {word}: {_BASE} is what is tested itself; choose another name'
            )
        cases[name] = place
    return cases


def check_cases(cfg: Config, checkpoint: str, cases: Mapping[str, str]) -> None:
    """Check that adapters and checkpoints are of a base, before it is tested for hours.

    Each is loaded into a model of its own for this, on the CPU, and given up again.

    Args:
        cfg (Config): The config of the base.
        checkpoint (str): Its checkpoint.
        cases (Mapping[str, str]): Adapter folders and checkpoints by name.

    Raises:
        UserError: One is not, or does not say what its classes are called; or what the model
            predicts cannot be counted.
    """
    if not cases:
        return
    if cfg.get('default_scope') == 'mmpose':
        raise UserError(f'--forgetting cannot count points of poses; {_COUNTED}')
    # Each may be loaded for minutes, before the run says its first word.
    say(f'--forgetting: {checkpoint} is loaded, on the CPU, to check what came of it')
    model = open_resident(copy.deepcopy(cfg), checkpoint=checkpoint, device='cpu').model
    for name, place in cases.items():
        say(f'--forgetting: is {name}={place} of it?')
        if is_adapter(place):
            load_adapter(model, place, name)
            _named(read_adapter(place)[0].class_names, place)
        else:
            _with_other_weights(cfg, place)


def measure_forgetting(
    runner: Any, before: Mapping[str, float], cases: Mapping[str, str]
) -> list[Case]:
    """Test what came of a base on the base's own data.

    Args:
        runner (Runner): It has tested the base.
        before (Mapping[str, float]): What that gave.
        cases (Mapping[str, str]): Adapter folders and checkpoints by name.

    Returns:
        list[Case]: The base first; an adapter on, and off again.

    Raises:
        UserError: Something does not belong to this base.
    """
    model = unwrap(runner.model)
    device = next(model.parameters()).device
    base = [str(name) for name in runner.test_dataloader.dataset.metainfo.get('classes') or ()]
    if not base:
        raise UserError('--forgetting: the test data set does not say what its classes are called')
    found = [Case(_BASE, len(base), dict(before))]
    for name, place in cases.items():
        if is_adapter(place):
            load_adapter(model, place, name)
            own = _named(read_adapter(place)[0].class_names, place)
            found.append(_run(runner, f'{name}, on', model, own, base))
            # It stays where it is: taking a quantized one away would round the base.
            set_adapter(model, None)
            found.append(_run(runner, f'{name}, off', model, base, base))
        else:
            other, names = _with_other_weights(runner.cfg, place)
            found.append(_run(runner, name, other.to(device), names, base))
    return found


def as_table(found: Sequence[Case]) -> Table:
    """Return the measurements as a table, with the difference from the base.

    Args:
        found (Sequence[Case]): The base first.
    """
    table = Table(title="the base's own data", title_justify='left')
    table.add_column('')
    table.add_column('its classes known', justify='right')
    before = found[0].metrics
    shown = [key for key in before if isinstance(before[key], float)][:_SHOWN]
    for key in shown:
        table.add_column(key, justify='right')
    for case in found:
        values = [case.metrics.get(key, 0.0) for key in shown]
        differences = [value - before[key] for key, value in zip(shown, values, strict=True)]
        cells = [
            f'{value:.3f}' if case is found[0] else f'{value:.3f} ({difference:+.3f})'
            for value, difference in zip(values, differences, strict=True)
        ]
        table.add_row(case.name, f'{case.kept} of {found[0].kept}', *cells)
    return table


def _run(
    runner: Any, name: str, model: nn.Module, names: Sequence[str], base: Sequence[str]
) -> Case:
    labels = [base.index(each) if each in base else -1 for each in names]
    with _in_place(runner, model), _counted_as(model, labels, len(base)):
        metrics = runner.test_loop.run()
    return Case(name, len({label for label in labels if label >= 0}), dict(metrics))


@contextmanager
def _in_place(runner: Any, model: nn.Module) -> Iterator[None]:
    own = runner.model
    runner.model = model
    try:
        # They would exchange its weights for an average of the base's.
        with without_averages(runner):
            yield
    finally:
        runner.model = own


@contextmanager
def _counted_as(model: Any, labels: Sequence[int], count: int) -> Iterator[None]:
    """Let a model predict under other labels; -1 is for those that are left out."""
    step, table = model.test_step, torch.tensor(labels)

    def relabeled(data):
        return [_relabel(sample, table, count) for sample in step(data)]

    model.test_step = relabeled
    try:
        yield
    finally:
        del model.test_step


def _relabel(sample: Any, table: Tensor, count: int) -> Any:
    predicted = getattr(sample, 'pred_instances', None)
    if 'pred_panoptic_seg' in sample:
        raise UserError('--forgetting cannot count panoptic segments')
    if predicted is not None and 'labels' in predicted:
        labels = table.to(predicted.labels.device)[predicted.labels]
        sample.pred_instances = predicted[labels >= 0]
        sample.pred_instances.labels = labels[labels >= 0]
    elif 'pred_sem_seg' in sample:
        labels = table.to(sample.pred_sem_seg.data.device)[sample.pred_sem_seg.data.long()]
        sample.pred_sem_seg.data = labels.where(labels >= 0, count)  # none of the base's
    elif 'pred_score' in sample:
        scores = sample.pred_score.new_zeros(count)
        known = table.to(scores.device) >= 0
        scores[table.to(scores.device)[known]] = sample.pred_score[known]
        sample.set_pred_score(scores).set_pred_label(scores.argmax(dim=0, keepdim=True))
    else:
        raise UserError(
            f'--forgetting cannot count what is in a {type(sample).__name__}; {_COUNTED}'
        )
    return sample


def _named(names: Sequence[str] | None, place: str) -> Sequence[str]:
    if not names:
        raise UserError(f'--forgetting: {place} does not say what its classes are called')
    return names


def _with_other_weights(cfg: Config, place: str) -> tuple[nn.Module, Sequence[str]]:
    """Build the base's model again with the weights of a checkpoint, which knows other classes."""
    model = build_model(cfg)
    checkpoint = read_checkpoint(place)
    names = _named(names_of_checkpoint(checkpoint).get('classes'), place)
    state = with_full_keys(model, checkpoint['state_dict'])
    own = model.state_dict()
    misfits = {
        key: value for key, value in state.items() if key in own and own[key].shape != value.shape
    }
    fit_class_counts(model, misfits, {}, names, place)
    wrong = lacking_keys(model, state)
    if wrong:
        raise UserError(
            f'{place} is no whole checkpoint of this model: it has no {wrong[0]} of its shape; '
            '`mmadapt merge` makes one of an epoch_k.pth'
        )
    model.load_state_dict(state, strict=False)
    return model.eval(), names
