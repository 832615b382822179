"""One training: a config in the work folder, `mmadapt train`, and a record of its figures."""

import json
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from projects.face_demo import metrics, steps

_MODEL = steps.ROOT / 'projects/methods_compared/configs/rtmdet_mobilenetv2_160px.py'
_CONFIG = """# {name}: one of the trainings of a project
# mmadapt train {path}
_base_ = [{model!r}, {data!r}]
load_from = {load_from!r}
train_dataloader = dict(batch_size={batch_size}, dataset=_base_.data_train)
val_dataloader = dict(dataset=_base_.data_val)
test_dataloader = dict(dataset=_base_.data_val)
val_evaluator = dict(_base_.data_val_evaluator, classwise=True)
test_evaluator = val_evaluator
model = dict(
    backbone=dict(init_cfg={init_cfg!r}), bbox_head=dict(num_classes=_base_.data_num_classes))
optim_wrapper = dict(
    _delete_=True, type='OptimWrapper', optimizer=dict(_base_.finetune_optimizer, lr={rate}),
    **{optim_wrapper!r})
train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters={iterations}, val_interval={iterations})
default_hooks = dict(
    logger=dict(interval=25),
    checkpoint=dict(by_epoch=False, interval={iterations}, max_keep_ckpts=1))
randomness = dict(seed={seed})
work_dir = {work_dir!r}
"""
_PEFT = """custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
custom_hooks = [dict(type='PEFTInjectHook')]
peft = {peft!r}
"""


@dataclass(frozen=True)
class Training:
    """What one training is.

    Args:
        name (str): Of its folder and its record.
        task (str): The data set.
        rate (float): Peak learning rate.
        iterations (int): Steps.
        seed (int): Of order, augmentation and new weights.
        load_from (Path, optional): The base; without it training begins at ``backbone``.
        backbone (Path, optional): Weights of the backbone.
        peft (dict, optional): The whole ``peft`` key; without it the stock model trains.
        optim_wrapper (dict, optional): What it adds to that key.
        batch_size (int): Images of a step.
        model (Path): The config that it inherits.
    """

    name: str
    task: str
    rate: float
    iterations: int
    seed: int = 0
    load_from: Path | None = None
    backbone: Path | None = None
    peft: dict | None = None
    optim_wrapper: dict | None = None
    batch_size: int = 4
    model: Path = _MODEL


def mmadapt(*arguments: object) -> list[str]:
    """Return the command line of a subcommand, in this interpreter."""
    return [sys.executable, '-m', 'mmadapt', *map(str, arguments)]


def config_of(training: Training, work: Path) -> Path:
    """Write the config of a training.

    Args:
        training (Training): What to train.
        work (Path): The work folder.

    Returns:
        Path: The config.
    """
    path = work / 'configs' / f'{training.name}.py'
    path.parent.mkdir(exist_ok=True)
    text = _CONFIG.format(
        name=training.name,
        path=path,
        model=str(training.model),
        data=str(work / f'{training.task}.py'),
        load_from=training.load_from and str(training.load_from),
        init_cfg=training.backbone and dict(type='Pretrained', checkpoint=str(training.backbone)),
        rate=training.rate,
        optim_wrapper=training.optim_wrapper or {},
        iterations=training.iterations,
        batch_size=training.batch_size,
        seed=training.seed,
        work_dir=str(work / 'runs' / training.name),
    )
    path.write_text(text + (_PEFT.format(peft=training.peft) if training.peft else ''))
    return path


def train(training: Training, work: Path) -> dict:
    """Train, unless a finished record of the same training is there.

    Args:
        training (Training): What to train.
        work (Path): The work folder.

    Returns:
        dict: ``ap``, ``ap50``, ``by_class``, ``seconds``, ``cpu_seconds`` (which other programs do
        not lengthen); with ``peft`` also ``trainable``, ``total`` and ``file_bytes``.
    """
    config = config_of(training, work)
    path, text = work / 'records' / f'{training.name}.json', config.read_text()
    if path.is_file() and (record := json.loads(path.read_text()))['config'] == text:
        return record
    folder, log = work / 'runs' / training.name, work / 'logs' / f'{training.name}.log'
    before = _cpu_seconds()
    seconds = steps.run(mmadapt('train', config), log)
    scalars = metrics.last_scalars(folder)
    record = dict(
        config=text,
        ap=scalars['coco/bbox_mAP'],
        ap50=scalars['coco/bbox_mAP_50'],
        by_class={
            key.removeprefix('coco/').removesuffix('_precision'): value
            for key, value in scalars.items()
            if key.endswith('_precision')
        },
        seconds=seconds,
        cpu_seconds=_cpu_seconds() - before,
    )
    if training.peft:
        record['trainable'], record['total'] = metrics.parameter_counts(log)
        learned = next(f for f in (folder / 'adapter', folder / 'trained') if f.exists())
        record['file_bytes'] = metrics.folder_bytes(learned)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1))
    return record


def saved_bytes(training: Training, work: Path) -> int:
    """Measure what a step of a training saves for its backward pass.

    Args:
        training (Training): What is trained.
        work (Path): The work folder.

    Returns:
        int: Bytes.
    """
    path = work / 'records' / f'{training.name}-step.json'
    if not path.is_file():
        words = '--recipes config --size 160 160 --iterations 1 --warm-up 1 --threads 1 --json'
        config = config_of(training, work)
        steps.run(
            mmadapt('measure', config, *words.split(), path),
            work / 'logs' / f'{training.name}-step.log',
        )
    (row,) = json.loads(path.read_text())['rows']
    return row['saved_bytes']


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
