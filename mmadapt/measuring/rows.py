"""Runs the rows of the table one after the other, each in its own process or processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ..cli.children import child
from ..cli.exit import Stopped
from ..recipes.changes import Model
from ..recipes.recipe import Recipe
from ..recipes.run import Setting, row_for
from .row import FAILED, OUT_OF_MEMORY

_ROW = ['-m', f'{__package__}.row']
_LAUNCHER = ['-m', 'mmadapt.cli.launcher', '--standalone', '--nproc-per-node']
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


def run_rows(
    recipes: list[Recipe], setting: Setting, model: Model, folder: Path, say: Callable[[str], None]
) -> list[dict]:
    """Measure recipes.

    Args:
        recipes (list[Recipe]): The recipes.
        setting (Setting): What is the same for all of them.
        model (Model): What recipes have to know of the model.
        folder (Path): Where the logs of the rows go.
        say (callable): Takes lines on the progress.

    Returns:
        list[dict]: The rows, as far as Ctrl-C let them come.
    """
    rows = []
    try:
        for number, recipe in enumerate(recipes, 1):
            rows.append(_run(recipe, setting, model, folder / f'{number:02}'))
            row = rows[-1]
            said = row['status'] or f'{row["iteration_s"]:.3g} s an iteration'
            if row.get('reason'):
                said += f' ({row["reason"]})'
            say(f'{recipe.name}: {said} ({number} of {len(recipes)})')
    except Stopped:
        raise  # to be ended, other than by Ctrl-C, is not to show what there is
    except KeyboardInterrupt:
        say('stopped by Ctrl-C')
    return rows


def _run(recipe: Recipe, setting: Setting, model: Model, folder: Path) -> dict:
    folder.mkdir(parents=True)
    file, log = folder / 'row', folder / 'log.txt'
    many = setting.processes > 1
    file.write_text(json.dumps(row_for(recipe, setting, model, str(folder / 'work_dir'))))
    script = [*_ROW, str(file)]
    if many:
        script = [*_LAUNCHER, str(setting.processes), *script]
    with (
        log.open('w') as output,
        child(
            [sys.executable, *script],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(setting),
        ) as process,
    ):
        code = process.wait()
    results = [json.loads(path.read_text()) for path in sorted(folder.glob('*.result'))]
    return dict(
        recipe=recipe.name,
        changes=recipe.changes,
        log=str(log),
        **_joined(results, code, setting.processes),
    )


def _joined(results: list[dict], code: int, processes: int) -> dict:
    """Return the results of a row: of its processes, the one that needs most of each."""
    failed = [result for result in results if result['status']]
    # Of several processes the others fail because they wait for the one that ran out of memory.
    for status in (OUT_OF_MEMORY, FAILED):
        for result in failed:
            if result['status'] == status:
                return result
    if code in _KILLED:
        return dict(
            status=OUT_OF_MEMORY,
            reason='killed by signal 9, which the system does to '
            'what takes more memory than there is',
        )
    if code or len(results) < processes:
        return dict(status=FAILED, reason=f'ended with exit code {code}')
    joined = dict(results[0])
    for result in results[1:]:
        for key, value in result.items():
            if key.endswith('_bytes') and value is not None:
                joined[key] = max(joined[key], value)
        joined['loss_is_finite'] &= result['loss_is_finite']
    return joined


def _environment(setting: Setting) -> dict:
    env = dict(os.environ)
    cores = len(os.sched_getaffinity(0))
    if setting.threads or setting.processes > 1:
        env['OMP_NUM_THREADS'] = str(setting.threads or max(1, cores // setting.processes))
    if setting.device == 'cpu':
        env['CUDA_VISIBLE_DEVICES'] = ''
    return env
