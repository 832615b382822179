"""What comes after the table: classes that a base knows already, and two tasks on one base."""

import json
import time
from pathlib import Path
from statistics import median

import mmadapt
from projects.face_demo import steps

from .rows import COMMON, ROWS
from .training import Training, train
from .training import mmadapt as command

FEW = 20  # steps
RATE = 3e-3
_FEW_RATE = 3e-4  # ten times that undoes in 20 steps what the base knows: AP 0.160 fell to 0.032
_THREE = 150  # steps of the base of three classes
_TWO = 500  # steps of the base of two classes: its prediction layer begins at random


def two_classes(faces: Path, work: Path) -> Training:
    """Return the training of the base of two classes, which begins at that of faces.

    Args:
        faces (Path): The checkpoint of the base of faces.
        work (Path): The work folder.
    """
    return Training('two', 'two', RATE, _TWO, load_from=faces)


def checkpoint(training: Training, work: Path) -> Path:
    """Return what a training without adapters leaves.

    Args:
        training (Training): It has been made.
        work (Path): The work folder.
    """
    return work / f'runs/{training.name}/iter_{training.iterations}.pth'


def three_classes(two: Path) -> Training:
    """Return the training of a base of all three classes, which begins at that of two.

    Args:
        two (Path): The checkpoint of the base of two classes.
    """
    return Training('three', 'all', _FEW_RATE, _THREE, load_from=two)


def other_classes(base: Path, task: str, keep: bool, seed: int) -> Training:
    """Return the training that adapts a base to other classes by LoRA.

    Args:
        base (Path): The base's checkpoint.
        task (str): The data with these classes.
        keep (bool): Whether the rows of those that the base knows are kept; else all are made anew.
        seed (int): The seed.
    """
    peft = dict(COMMON, **ROWS['lora'].peft, keep_classes=keep)
    name = f'keep-{keep}-{FEW}-seed{seed}' if task == 'all' else f'{task}-{keep}-{FEW}-seed{seed}'
    return Training(name, task, _FEW_RATE, FEW, seed, load_from=base, peft=peft)


def keep_classes(base: Path, task: str, work: Path, seeds: int) -> list[dict]:
    """Train other classes with the rows of known ones kept and made anew.

    Args:
        base (Path): The base's checkpoint.
        task (str): The data with these classes.
        work (Path): The work folder.
        seeds (int): How many times each.

    Returns:
        list[dict]: Records, ``keep`` and ``seed`` among them.
    """
    return [
        dict(train(other_classes(base, task, keep, seed), work), keep=keep, seed=seed)
        for seed in range(seeds)
        for keep in (True, False)
    ]


def two_tasks(base: Path, base_config: Path, work: Path, iterations: int) -> dict:
    """Give a base two adapters, test what was forgotten, predict with both, time the switch.

    Args:
        base (Path): The base's checkpoint.
        base_config (Path): Its config.
        work (Path): The work folder.
        iterations (int): Of the training on trees.

    Returns:
        dict: ``trees`` (record), ``forgetting`` (cases), ``seen`` (objects by adapter) and
        ``switch`` (median seconds).
    """
    third = other_classes(base, 'all', True, 0)
    train(third, work)
    masks = work / f'runs/{third.name}/adapter'
    trees = Training(
        'trees',
        'trees',
        RATE,
        iterations,
        load_from=base,
        peft=dict(COMMON, **ROWS['lora'].peft),
    )
    record = train(trees, work)
    folders = dict(masks=str(masks), trees=str(work / 'runs/trees/adapter'))
    words = [f'{name}={folder}' for name, folder in folders.items()]
    test = work / 'runs/forgetting'
    steps.run(
        command('test', base_config, base, '--work-dir', test, '--forgetting', *words),
        work / 'logs/forgetting.log',
    )
    cases = json.loads(max(test.glob('*/forgetting.json')).read_text())
    images = [
        *sorted((work / 'all/validation').glob('*.jpg'))[:8],
        *sorted((work / 'trees/validation').glob('*.jpg'))[:4],
    ]
    steps.run(
        command(
            *('predict', masks, *images, '--adapters', 'none', *words),
            *('--out', work / 'predictions', '--force'),
        ),
        work / 'logs/predict.log',
    )
    results = json.loads((work / 'predictions/results.json').read_text())
    seen = {}
    for result in results:
        if result['score'] > 0.3:
            seen[result['adapter']] = seen.get(result['adapter'], 0) + 1
    return dict(trees=record, forgetting=cases, seen=seen, switch=_switch_seconds(folders))


def _switch_seconds(folders: dict[str, str]) -> float:
    inferencer = mmadapt.Inferencer(folders['masks'], dict(none='', **folders), device='cpu')
    seconds = []
    for name in [*inferencer.views] * 10:
        start = time.perf_counter()
        inferencer.resident.switch(name)
        seconds.append(time.perf_counter() - start)
    return median(seconds)
