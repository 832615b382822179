"""Jobs of every task, and the configs that they become."""

import pytest
from coco_files import box, write_export
from mmengine.config import Config

from mmadapt.errors import UserError
from mmadapt.jobs import Job, convert_job
from mmadapt.jobs.convert import data_file

# The keys of the guide for RTMDet on faces, whose dict is not copied: values of our own.
DETECTION = dict(
    JOB_SERVICE='Adapt',
    TASK='object_detection',
    Library='MMDET',
    MODEL='rtmdet',
    MODEL_PATH='rtmdet_tiny_8xb32-300e_coco',
    TRAIN_DIR='train/',
    VAL_DIR='validation/',
    train_ann_file='annotations_coco.json',
    val_ann_file='annotations_coco.json',
    EPOCHS=1,
    BATCH_SIZE=1,
    PEFT_METHOD='LoRA',
    r=32,
    alpha=16,
    dropout=0.1,
    LAST_LAYER_TUNING=True,
    FULL_FINE_TUNING=False,
    auto_select_modules=True,
)


@pytest.fixture(scope='session')
def boxes(tmp_path_factory):
    """A data set of two classes in two splits."""
    anns = [box(1), box(2, 2), box(3, 1, 2), box(4, 2, 2)]
    return write_export(tmp_path_factory.mktemp('boxes') / 'cats', anns)


@pytest.fixture
def job(boxes):
    """Return a function that makes a job of detection; a change to ``...`` takes a key away."""

    def make(**changes) -> Job:
        keys = {**DETECTION, 'CUSTOM_DATASET_PATH': str(boxes), **changes}
        return Job({key: value for key, value in keys.items() if value is not ...}, 'job.yaml')

    return make


@pytest.fixture
def converted(job, tmp_path):
    """Return a function that converts a job and reads the config that was written."""

    def convert(keep_schedule=False, **changes) -> tuple[Config, Job]:
        made = job(**changes)
        out = tmp_path / 'my_job.py'
        done = convert_job(made, out, ['mmadapt', 'convert', 'job.yaml'], keep_schedule)
        if done is None:
            raise UserError('; '.join(f'{line.key} {line.said}' for line in made.errors))
        data_file(out).write_text(done.data)
        out.write_text(done.config)
        return Config.fromfile(out, import_custom_modules=False), made

    return convert
