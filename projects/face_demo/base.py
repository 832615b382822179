"""Where the demo's base weights come from: the model zoo, or else a training of its own.

python -m projects.face_demo.base
"""

import hashlib
import json
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path

import torch
from mmengine.config import Config

from . import base_data, steps
from .metrics import last_scalars

FOLDER = steps.ROOT / 'data/face_demo_base'
WEIGHTS = FOLDER / 'base.pth'
CONFIG = 'projects/face_demo/configs/rtmdet_tiny_base_objects.py'
URL = (
    'https://download.openmmlab.com/mmdetection/v3.0/rtmdet/rtmdet_tiny_8xb32-300e_coco/'
    'rtmdet_tiny_8xb32-300e_coco_20220902_112414-78e30dcc.pth'
)
LEAST_AP50 = 0.3  # ten times better than chance; a base below it would make every comparison idle
_RECORD = FOLDER / 'base.json'
_TIMEOUT = 10  # seconds without an answer


def _official() -> Path | str:
    """The official checkpoint in torch hub's cache, fetched if it can be; or why it cannot."""
    cached = Path(torch.hub.get_dir()) / 'checkpoints' / URL.rsplit('/', 1)[-1]
    if cached.is_file():
        return cached
    try:
        # Asked first with a timeout: torch's own download has none.
        with urllib.request.urlopen(URL, timeout=_TIMEOUT):
            pass
        cached.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL, str(cached), hash_prefix='78e30dcc', progress=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        return str(getattr(error, 'reason', error))
    return cached


def _trained(work_dir: Path) -> dict:
    """Trains the demo's own base and puts its weights in place."""
    base_data.prepare(FOLDER / 'objects')
    seconds = steps.run(
        [sys.executable, 'tools/train.py', CONFIG, '--work-dir', str(work_dir)],
        work_dir / 'base.log',
    )
    scalars = last_scalars(work_dir)
    if scalars['coco/bbox_mAP_50'] < LEAST_AP50:
        raise steps.StepFailed(
            f'the base reached an AP50 of {scalars["coco/bbox_mAP_50"]:.3f} on held-out images '
            f'of its own task, and {LEAST_AP50} is the least a base has to reach'
        )
    checkpoint = Path((work_dir / 'last_checkpoint').read_text().strip())
    shutil.copyfile(checkpoint, WEIGHTS)
    return dict(kind='own', ap50=scalars['coco/bbox_mAP_50'], seconds=round(seconds))


def describe(record: dict) -> str:
    """What the base is, in words for the screen and the summary."""
    if record['kind'] == 'official':
        return 'the official RTMDet-tiny checkpoint, trained on COCO (box AP 41.0 there)'
    return (
        'NOT the official checkpoint, which could not be had '
        f'({record["why"]}), but a small base of its own: RTMDet-tiny trained here from '
        f'random weights in {record["seconds"]} s on five things, none of them a face '
        f'(AP50 {record["ap50"]:.3f} on held-out images of that task). It is no measure of '
        'what LoRA does with COCO weights'
    )


def obtain(work_dir: Path) -> tuple[dict, bool]:
    """Makes sure that the base weights lie where the demo's config looks for them.

    Args:
        work_dir (Path): for the log and the checkpoints of a training.

    Returns:
        tuple[dict, bool]: the record of the base, and whether it was obtained now.

    Raises:
        StepFailed: training failed, or its result is not good enough to be a base.
    """
    settings = repr(Config.fromfile(steps.ROOT / CONFIG).to_dict())
    recipe = dict(data=base_data.RECIPE, settings=hashlib.sha256(settings.encode()).hexdigest())
    if WEIGHTS.is_file() and _RECORD.is_file():
        record = json.loads(_RECORD.read_text())
        if record['kind'] == 'official' or record['recipe'] == recipe:
            return record, False
    FOLDER.mkdir(parents=True, exist_ok=True)
    official = _official()
    if isinstance(official, Path):
        record = dict(kind='official', url=URL)
        shutil.copyfile(official, WEIGHTS)
    else:
        print(
            f'   the official checkpoint cannot be had ({official});\n'
            "   a base of the demo's own is trained once, on other things than faces",
            flush=True,
        )
        record = dict(_trained(work_dir), why=official, recipe=recipe)
    _RECORD.write_text(json.dumps(record, indent=1))
    return record, True


if __name__ == '__main__':
    print(describe(obtain(steps.ROOT / 'work_dirs/face_demo/base')[0]))
