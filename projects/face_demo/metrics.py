"""Reads what a run of the demo has left behind: its figures, its counts, the size of its files."""

import json
import re
from pathlib import Path

_COUNTS = re.compile(r'trainable params: (\d+) \|\| all params: (\d+)')


def last_scalars(work_dir: Path) -> dict:
    """The last record with a validation or test result that MMEngine has written.

    Args:
        work_dir (Path): the work directory of a run.

    Returns:
        dict: such as ``{'coco/bbox_mAP_50': 0.93, ...}``.

    Raises:
        FileNotFoundError: no run has left a result there.
    """
    # Training writes to vis_data/scalars.json, a test to <timestamp>.json; both a line a record.
    # Timestamps sort as text.
    for run in sorted((p for p in work_dir.glob('*_*') if p.is_dir()), reverse=True):
        for path in (run / 'vis_data/scalars.json', run / f'{run.name}.json'):
            if not path.is_file():
                continue
            records = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
            results = [record for record in records if 'coco/bbox_mAP_50' in record]
            if results:
                return results[-1]
    raise FileNotFoundError(f'no validation result in {work_dir}')


def parameter_counts(log: Path) -> tuple[int, int]:
    """The numbers of trainable and of all parameters that a training has logged.

    Args:
        log (Path): what the training printed.

    Returns:
        tuple[int, int]: trainable, all.

    Raises:
        ValueError: the line is not there.
    """
    match = _COUNTS.search(log.read_text(errors='replace'))
    if match is None:
        raise ValueError(f'{log} has no line "trainable params: ... || all params: ..."')
    return int(match[1]), int(match[2])


def folder_bytes(folder: Path) -> int:
    """The bytes of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())
