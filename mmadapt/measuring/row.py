"""One row of the table, in a process of its own: a few iterations of training, and what they took.

The run is an ordinary one, of the runner and strategy that the recipe names; a hook reads it off.
"""

import json
import sys
import traceback
from pathlib import Path
from statistics import median

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..cli import run_tool
from ..errors import UserError
from ..meters.step import Stopwatch
from ..meters.tally import SavedActivations, gradient_bytes, optimizer_bytes, parameter_bytes
from ..recipes.images import hint
from ..recipes.recipe import parse_recipe
from ..recipes.run import prepared
from ..runs import unwrap

OUT_OF_MEMORY, FAILED = 'out of memory', 'failed'
# Of torch on a CPU, of C++ and of Python.
_NO_MEMORY = ("can't allocate memory", 'bad_alloc', 'out of memory', 'Cannot allocate memory')


class Meter(Hook):
    """Reads off a run what its iterations take.

    The first iteration counts what autograd keeps, which costs time; it is one of the warm-up.

    Args:
        warm_up (int): Number of iterations before the time and the peak are taken.
    """

    priority = 'LOWEST'

    def __init__(self, warm_up: int) -> None:
        self._warm_up = warm_up
        self.seconds: list[float] = []
        self.figures: dict = {}

    def before_train(self, runner) -> None:
        """Set the meters up; the model is wrapped and the optimizer built by now."""
        self._model, self._wrapper = unwrap(runner.model), runner.optim_wrapper
        self.figures.update(
            parameters=sum(getattr(p, 'ds_numel', p.numel()) for p in self._model.parameters()),
            trainable=sum(
                getattr(p, 'ds_numel', p.numel())
                for p in self._model.parameters()
                if p.requires_grad
            ),
        )

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Start the clock."""
        if batch_idx == 0:
            self._saved = SavedActivations(self._model)
            self._saved.__enter__()
            self._originals = {
                name: getattr(self._wrapper, name) for name in ('update_params', 'step')
            }
            self._wrapper.update_params, self._wrapper.step = self._update_params, self._step
        if batch_idx == self._warm_up and torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._watch = Stopwatch(_device())

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Stop it."""
        self._watch.mark()
        if batch_idx == 0:
            for name in self._originals:
                delattr(self._wrapper, name)
            self.figures.update(
                parameter_bytes=parameter_bytes(self._model),
                optimizer_bytes=optimizer_bytes(self._model, self._wrapper.optimizer),
            )
        if batch_idx >= self._warm_up:
            self.seconds += self._watch.parts()
        self.figures['loss_is_finite'] = bool(torch.isfinite(outputs['loss']))

    def results(self) -> dict:
        """Return all of it, in bytes and seconds."""
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
        return dict(
            self.figures,
            iteration_s=median(self.seconds),
            iterations=len(self.seconds),
            seconds=self.seconds,
            peak_bytes=peak,
        )

    def _update_params(self, *args, **kwargs) -> None:
        self.figures['saved_bytes'] = self._saved.bytes()
        self._saved.__exit__()
        self._originals['update_params'](*args, **kwargs)

    def _step(self, *args, **kwargs) -> None:
        self.figures['gradient_bytes'] = gradient_bytes(self._model, self._wrapper.optimizer)
        self._originals['step'](*args, **kwargs)


def run_row(file: str) -> int:
    """Measure a row, and leave the results beside its file.

    Args:
        file (str): JSON of what :class:`~mmadapt.recipes.run.Setting` and the row are.

    Returns:
        int: The exit code; not 0 if there are no figures, so that a launcher ends other processes.
    """
    row = json.loads(Path(file).read_text())
    try:
        result = dict(status='', **_measure(row))
    except UserError as error:
        result = dict(status=FAILED, reason=str(error))
    # Whatever goes wrong in a row is a result of it.
    except Exception as error:
        lines = str(error).strip().splitlines() or ['']
        place = traceback.extract_tb(error.__traceback__)[-1]
        result = dict(
            status=FAILED,
            reason=f'{type(error).__name__}: {lines[0][:200]} '
            f'({Path(place.filename).name}:{place.lineno})' + hint(row['size'], error),
        )
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
            text in str(error) for text in _NO_MEMORY
        ):
            result['status'] = OUT_OF_MEMORY
        else:
            traceback.print_exc()
    rank = get_rank()
    Path(file).with_suffix(f'.{rank}.result').write_text(json.dumps(result))
    return 1 if result['status'] else 0


def _measure(row: dict) -> dict:
    cfg = prepared(parse_recipe(row['recipe']), row)
    meter = Meter(row['warm_up'])
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    runner.register_hook(meter)
    runner.train()
    return meter.results()


def _device() -> torch.device:
    return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


if __name__ == '__main__':
    run_tool(lambda: sys.exit(run_row(sys.argv[1])))
