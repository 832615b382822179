"""Compares ways of adapting one base with ImageNet's weights and images of your own.

python projects/methods_compared/run.py --data FOLDER [--rows lora ssf] [--seeds 3]
"""

import argparse
import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import mmdet  # noqa: E402
import torch  # noqa: E402

import mmadapt  # noqa: E402
from projects.face_demo import steps  # noqa: E402
from projects.methods_compared import data, tables, tasks, weights  # noqa: E402
from projects.methods_compared.rows import COMMON, ROWS  # noqa: E402
from projects.methods_compared.training import (  # noqa: E402
    Training,
    config_of,
    saved_bytes,
    train,
)
from projects.methods_compared.training import mmadapt as command  # noqa: E402

PARTS = ('rows', 'classes', 'tasks')
BASE_RATE = 2e-3


def parse_args() -> argparse.Namespace:
    """Reads what was typed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--data',
        required=True,
        type=Path,
        help='a COCO export, such as one of '
        'faces with and without masks: train/ and validation/, 3 classes',
    )
    parser.add_argument('--work', type=Path, default=steps.ROOT / 'work_dirs/methods_compared')
    parser.add_argument('--rows', nargs='+', choices=ROWS, default=list(ROWS))
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--steps', type=int, default=150, help='of 4 images, for each row')
    parser.add_argument('--rate', type=float, help='one for all rows, instead of a search')
    parser.add_argument('--base-steps', type=int, default=500)
    return parser.parse_args()


def prepare(export: Path, work: Path) -> None:
    """Makes weights, tasks and their data set files, unless they are there.

    Args:
        export (Path): The data.
        work (Path): The work folder.

    Raises:
        ValueError: The folder was made of other data.
    """
    work.mkdir(parents=True, exist_ok=True)
    mark, source = work / 'source.txt', str(export.resolve())
    if mark.is_file():
        if mark.read_text() != source:
            raise ValueError(f'{work} was made of {mark.read_text()}; name another one by --work')
        return
    weights.prepare(work)
    data.prepare_faces(export, work)
    data.prepare_trees(work)
    for task in data.TASKS:
        out = work / f'{task}.py'
        words = (work / task, '--name', 'data', '--out', out, '--force')
        steps.run(command('dataset', *words), work / f'logs/{task}.log')
    mark.write_text(source)


def row_training(name: str, rate: float, seed: int, base: Path, iterations: int) -> Training:
    """Returns what one row trains at one rate from one seed."""
    row = ROWS[name]
    return Training(
        f'{name}-{iterations}-{rate:g}-seed{seed}',
        'all',
        rate,
        iterations,
        seed,
        load_from=base,
        peft=dict(COMMON, **row.peft),
        optim_wrapper=row.optim_wrapper,
    )


def compare(name: str, base: Path, work: Path, args: argparse.Namespace) -> dict:
    """Finds a row's rate with the first seed and trains the others at it.

    Args:
        name (str): The row.
        base (Path): The base's checkpoint.
        work (Path): The work folder.
        args (argparse.Namespace): What was typed.

    Returns:
        dict: ``tried`` (AP by rate), ``rate``, ``records``, ``saved`` (bytes).
    """

    def training(rate: float, seed: int) -> Training:
        return row_training(name, rate, seed, base, args.steps)

    rates = [args.rate] if args.rate else ROWS[name].rates
    first = {rate: train(training(rate, 0), work) for rate in rates}
    best = max(first, key=lambda rate: first[rate]['ap'])
    rest = [train(training(best, seed), work) for seed in range(1, args.seeds)]
    return dict(
        tried={rate: record['ap'] for rate, record in first.items()},
        rate=best,
        records=[first[best], *rest],
        saved=saved_bytes(training(best, 0), work),
    )


def main() -> None:
    """Runs all of it, or goes on where it was stopped; every finished training is kept."""
    try:
        compare_all(parse_args())
    except (steps.StepFailed, ValueError) as error:
        sys.exit(f'FAILED: {error}')


def compare_all(args: argparse.Namespace) -> None:
    """Makes the parts that are asked for and writes ``summary.md``.

    Args:
        args (argparse.Namespace): What was typed.
    """
    work = args.work.resolve()
    prepare(args.data, work)
    faces = Training(
        'base',
        'faces',
        BASE_RATE,
        args.base_steps,
        backbone=work / 'mobilenetv2.pth',
        batch_size=8,
    )
    record = train(faces, work)
    two = tasks.two_classes(tasks.checkpoint(faces, work), work)
    known = train(two, work)
    base = tasks.checkpoint(two, work)
    words = ' '.join(Path(word).name if os.sep in word else word for word in sys.argv[1:])
    lines = [
        f'`python projects/methods_compared/run.py {words}`; {os.cpu_count()} processors '
        f'({platform.machine()}), {torch.get_num_threads()} thread; torch {torch.__version__}, '
        f'MMDetection {mmdet.__version__}, mmadapt {mmadapt.__version__}',
        '',
        f'base of faces: AP {record["ap"]:.3f}, AP50 {record["ap50"]:.3f}; then of two classes: AP '
        f'{known["ap"]:.3f}, AP50 {known["ap50"]:.3f}',
    ]
    rows = {}
    if 'rows' in args.parts:
        for name in args.rows:
            rows[name] = compare(name, base, work, args)
        lines += ['', *tables.of_rows(rows)]
    if 'classes' in args.parts:
        found = tasks.keep_classes(base, 'all', work, args.seeds)
        lines += ['', 'a third class:', '', *tables.of_classes(found)]
        three = tasks.three_classes(base)
        train(three, work)
        found = tasks.keep_classes(tasks.checkpoint(three, work), 'two', work, args.seeds)
        lines += ['', 'two of three classes:', '', *tables.of_classes(found)]
    if 'tasks' in args.parts:
        found = tasks.two_tasks(base, config_of(two, work), work, args.steps)
        lines += ['', *tables.of_tasks(found)]
    (work / 'summary.md').write_text('\n'.join(lines) + '\n')
    print('\n'.join(lines))


if __name__ == '__main__':
    main()
