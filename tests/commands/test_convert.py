"""`mmadapt convert`, as it is typed."""

from pathlib import Path

import pytest
import torch
import yaml
from coco_files import box, write_export
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from stock_predictions import stock_config

from mmadapt.commands import convert
from mmadapt.config_model import model_config
from mmadapt.errors import UserError
from mmadapt.files import read_adapter

STOCK = 'rtmdet_tiny_8xb32-300e_coco'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with data and a job."""
    monkeypatch.chdir(tmp_path)
    write_export(tmp_path / 'data', [box(1), box(2, 2), box(3, 1, 2)])
    return tmp_path


def write_job(path='job.yaml', **changes) -> str:
    keys = dict(
        TASK='object_detection',
        MODEL_PATH=STOCK,
        CUSTOM_DATASET_PATH='data',
        TRAIN_DIR='train/',
        VAL_DIR='validation/',
        PEFT_METHOD='LoRA',
        r=4,
        LAST_LAYER_TUNING=True,
        **changes,
    )
    Path(path).write_text(yaml.safe_dump(keys))
    return path


def test_it_writes_a_config_and_its_data_and_prints_what_trains_it(folder, capsys):
    job = write_job(cuda_id='0,1', dest_root='cache', EPOCHS=3)
    assert convert.main([job, '-o', 'configs/my_job.py']) == 0
    said = capsys.readouterr().out
    assert 'train_cfg.max_epochs = 3' in said
    assert 'wrote configs/my_job.py and configs/my_job_data.py' in said
    variables = 'TORCH_HOME=cache CUDA_VISIBLE_DEVICES=0,1'
    assert f'{variables} mmadapt launch 2 train configs/my_job.py' in said
    assert f'{variables} dist_train.sh configs/my_job.py 2' in said
    cfg = Config.fromfile('configs/my_job.py')
    assert cfg.train_dataloader.dataset.metainfo.classes == ('cat', 'dog')
    assert cfg.model.bbox_head.num_classes == 2
    assert cfg.load_from.endswith('rtmdet_tiny_8xb32-300e_coco_20220902_112414-78e30dcc.pth')


def test_with_an_error_nothing_is_written(folder, capsys):
    job = write_job(EPOCH=3, FULL_FINE_TUNING=True)
    assert convert.main([job]) == 2
    said = capsys.readouterr().out
    assert 'did you mean EPOCHS?' in said
    assert 'leave one of them out' in said
    assert '2 errors: nothing was written' in said
    assert not Path('job.py').exists()


def test_what_is_there_is_overwritten_by_force_only(folder):
    convert.main([write_job()])
    before = Path('job.py').read_text()
    convert.main([write_job()])  # the same again
    with pytest.raises(UserError, match='--force overwrites it'):
        convert.main([write_job(EPOCHS=9)])
    assert Path('job.py').read_text() == before
    assert convert.main([write_job(EPOCHS=9), '--force']) == 0
    assert 'max_epochs=9' in Path('job.py').read_text()


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['nothing.yaml'], 'cannot be read'),
        (['job.yaml', '-o', 'here'], 'ends with .py'),
    ],
)
def test_wrong_arguments_are_one_line(folder, arguments, said):
    write_job()
    with pytest.raises(UserError, match=said):
        convert.main(arguments)


def test_run_trains_on_two_processes_into_the_folders_of_the_job(folder):
    cfg = stock_config(f'mmdet::rtmdet/{STOCK}.py')
    init_default_scope('mmdet')
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(model_config(cfg))
    torch.save(dict(meta={}, state_dict=model.state_dict()), 'base.pth')
    job = write_job(
        LOCAL_MODEL_PATH='base.pth',
        EPOCHS=1,
        BATCH_SIZE=1,
        NUM_WORKERS=0,
        DDP=True,
        num_processes=2,
        use_cpu=True,
        OPTIMIZER='SGD',
        LR=1e-3,
        SCHEDULER_TYPE='linear',
        INTERVAL='steps',
        INTERVAL_STEPS=1,
        OUTPUT_DIR='user_data/jobs/Adapt/OBJDET',
        LOGGING_PATH='user_data/logs/Adapt/OBJDET',
        MERGE_ADAPTER=True,
        SAVE_METHOD='state_dict',
        SEED=56,
    )
    assert convert.main([job, '--run']) == 0
    output = Path('user_data/jobs/Adapt/OBJDET')
    merged = torch.load(output / 'merged_model_state_dict.pth', weights_only=True)
    assert merged['state_dict'].keys() >= model.backbone.state_dict(prefix='backbone.').keys()
    assert (output / 'iter_1.pth').is_file()
    assert read_adapter(str(output / 'adapter'))[0].plan['method']['r'] == 4
    log = Path('user_data/logs/Adapt/OBJDET/log.log').read_text()
    assert 'trainable params' in log
    assert log.count('Epoch(val) [1][') >= 1
    assert log.count('trainable params') == 1, 'one process writes'
