"""Several trainings in the same processes, one after the other: importing takes longest."""

import argparse
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import stock_runs

from mmadapt.files import read_checkpoint


def run_several(folder: Path, runs: dict[str, dict], processes: int = 2) -> str:
    """Train in subprocesses, each run in a folder of its name, and return what they printed.

    Args:
        folder (Path): Where the runs' folders are, and their list is written to.
        runs (dict[str, dict]): Each with a ``config``, ``resume`` if need be, and ``options`` as of
            ``--cfg-options``. What a run raises is left as ``error.txt``.
        processes (int): How many train together, without a launcher if it is one. Defaults to 2.
    """
    plan = folder / f'{"_".join(runs)[:80]}_{processes}.json'
    plan.write_text(json.dumps(runs, default=str))
    return stock_runs.run(__file__, plan, processes=processes)


def logged(work_dir: Path, key: str = 'loss') -> list[float]:
    """Return a scalar of every iteration that the runs in a folder logged."""
    return [
        entry[key]
        for file in sorted(work_dir.glob('*/vis_data/scalars.json'))
        for entry in map(json.loads, file.read_text().splitlines())
        if key in entry
    ]


def checkpoint(folder: Path, epoch: int) -> dict:
    """Return what a run has written after an epoch."""
    return read_checkpoint(str(folder / f'epoch_{epoch}.pth'))


def difference(found: dict, wanted: dict) -> float:
    """Return the largest difference between the tensors of two state dicts of the same keys."""
    assert found.keys() == wanted.keys()
    assert len(found) > 100
    return max(
        (found[key].float() - value.float()).abs().max().item() for key, value in wanted.items()
    )


def _run(name: str, config: str, work_dir: Path, launcher: str, options: dict, resume) -> None:
    from mmengine.config import Config
    from mmengine.registry import RUNNERS

    cfg = Config.fromfile(config)
    cfg.merge_from_dict(options)
    cfg.update(launcher=launcher, work_dir=str(work_dir), experiment_name=name)
    cfg.visualizer.name = name  # what is logged goes where the first one of a name writes
    if resume:
        cfg.update(resume=resume, load_from=None)
    with _count_made_again():
        RUNNERS.build(cfg).train()


@contextmanager
def _count_made_again():
    """Let small tensors be made again too, as the models are small, and print how many are."""
    from mmadapt.memory.rematerialize import saving
    from mmadapt.memory.rematerialize.saved import Saved

    made, real = [], Saved.make_from

    def make_from(saved, *args):
        made.append(1)
        real(saved, *args)

    with (
        mock.patch.object(saving, 'SMALL', 2**12),
        mock.patch.object(Saved, 'make_from', make_from),
    ):
        yield
    if made:
        print(f'made again: {len(made)} tensors', flush=True)


def main() -> None:
    """Train what the list says."""
    from mmadapt import UserError

    parser = argparse.ArgumentParser()
    parser.add_argument('plan', type=Path)
    parser.add_argument('--launcher', default='none')
    args = parser.parse_args()
    for name, run in json.loads(args.plan.read_text()).items():
        work_dir = args.plan.parent / name
        try:
            _run(
                name,
                run['config'],
                work_dir,
                args.launcher,
                run.get('options', {}),
                run.get('resume'),
            )
        except UserError as error:
            (work_dir / 'error.txt').write_text(str(error))


if __name__ == '__main__':
    sys.exit(main())
