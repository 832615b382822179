"""Checkpoints that do not fit what is evaluated or resumed, given to the tools."""

import json
from importlib import import_module

import pytest
import torch
from mmengine.logging import MessageHub
from safetensors.torch import save_file
from stock_runs import CLASSES

from mmadapt import UserError
from mmadapt.commands.merge import base_of
from mmadapt.files import AdapterRecord, BaseRecord
from mmadapt.hooks.loaded_hook import class_names

ONE = [f'{split}_dataloader.dataset.metainfo.classes=("dot",)' for split in ('test', 'val')]
ONE = ['model.bbox_head.num_classes=1', *ONE]
SWAPPED = ['test_dataloader.dataset.metainfo.classes=("dot","square")']
DIFFERENT = (
    r'rtm_cls.0.weight .*its classes are 2 \(square, dot\), those of the data set here '
    r'1 \(dot\)'
)
PLAIN = ['peft=None', 'custom_hooks=[]']


@pytest.fixture
def tool():
    """Run one of our tools in this process."""

    def run(name, *arguments):
        import_module(f'mmadapt.commands.{name}').main([*map(str, arguments)])

    yield run
    MessageHub._instance_dict.clear()


@pytest.mark.parametrize(
    ('file', 'options', 'message'),
    [
        ('merged_model_state_dict.pth', [], DIFFERENT),
        ('merged_model_state_dict.pth', PLAIN, DIFFERENT),
        ('merged.safetensors', PLAIN, DIFFERENT),
        ('bare.pth', PLAIN, 'the config it was trained with fits'),
        ('epoch_1.pth', [], 'epoch_1.pth does not fit this config: bbox_head.rtm_cls.0.weight'),
        ('adapter', [], 'adapter does not fit this config: bbox_head.rtm_cls.0.weight'),
    ],
)
def test_a_file_of_other_classes_is_not_tested(
    file, options, message, finished, bases, tool, tmp_path
):
    """The layers that predict them would be random: AP 0.000."""
    checkpoint = finished / 'run' / file
    if file == 'adapter':
        checkpoint, options = bases('rtmdet'), [f'peft.adapter={checkpoint}']
    elif not checkpoint.exists():
        state = torch.load(finished / 'run' / 'merged_model_state_dict.pth')['state_dict']
        checkpoint = tmp_path / file
        if file == 'bare.pth':
            torch.save(state, checkpoint)
        else:
            save_file(
                {key: value.clone() for key, value in state.items()},
                checkpoint,
                dict(dataset_meta=json.dumps(dict(classes=CLASSES))),
            )
    with pytest.raises(UserError, match=message):
        tool(
            'test',
            finished / 'config.py',
            checkpoint,
            '--work-dir',
            tmp_path,
            '--cfg-options',
            *options,
            *ONE,
        )


@pytest.mark.parametrize(
    ('file', 'options'), [('merged_model_state_dict.pth', PLAIN), ('adapter', [])]
)
def test_classes_in_another_order_are_said(
    file, options, finished, bases, tool, tmp_path, monkeypatch
):
    said, checkpoint = [], finished / 'run' / file
    if file == 'adapter':
        checkpoint, options = bases('rtmdet'), [f'peft.adapter={checkpoint}']
    monkeypatch.setattr('mmadapt.hooks.loaded_hook.warn', said.append)
    monkeypatch.setattr('mmadapt.commands.test.check_data', lambda *_: None)
    tool(
        'test',
        finished / 'config.py',
        checkpoint,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        *options,
        *SWAPPED,
    )
    (line,) = said
    assert (
        f'{finished}/run/{file}: its classes are 2 (square, dot), those of the data set here '
        '2 (dot, square)' in line
    )


def test_a_plain_run_without_optimizer_state_is_not_resumed(finished, tool, tmp_path):
    """MMEngine would go on with a new optimizer and a new schedule."""
    options = [
        '--work-dir',
        tmp_path / 'run',
        '--cfg-options',
        *PLAIN,
        'train_dataloader.batch_size=12',
        'default_hooks.checkpoint.save_optimizer=False',
        'default_hooks.checkpoint.save_param_scheduler=False',
    ]
    tool('train', finished / 'config.py', *options)
    with pytest.raises(
        UserError,
        match='epoch_1.pth holds no optimizer nor learning-rate schedule '
        'and cannot be resumed: .*save_optimizer=False and .*'
        'save_param_scheduler=False',
    ):
        tool('train', finished / 'config.py', '--resume', *options)


@pytest.mark.parametrize(
    'meta',
    [
        dict(dataset_meta=dict(classes=CLASSES)),
        dict(dataset_meta=dict(CLASSES=[*CLASSES])),
        dict(CLASSES=CLASSES),
    ],
)
def test_class_names_are_found_in_checkpoints_of_all_ages(meta):
    assert class_names(dict(meta=meta)) == [*CLASSES]
    assert class_names(dict(meta={})) is class_names({}) is None


def test_the_tool_that_shows_targets_reads_a_checkpoint_to_go_on_from(
    finished, bases, tool, capsys
):
    """What it does not hold is in its base: no more trains than trained before."""
    counts = []
    for load_from in (finished / 'run' / 'epoch_1.pth', bases('rtmdet')):
        tool(
            'inspect',
            finished / 'config.py',
            '--summary',
            '--cfg-options',
            f'load_from={load_from}',
        )
        counts.append(capsys.readouterr().out.splitlines()[-1])
    assert counts[0] == counts[1]
    assert 'trainable params' in counts[0]


def test_merging_names_what_into_where_the_base_is_no_checkpoint():
    """It comes from pretrained files of the config then."""
    record = AdapterRecord({}, [], [], BaseRecord(pretrained=['backbone']), [])
    assert 'None' not in base_of(record, None)
    assert base_of(record, 'base.pth') == 'base.pth'
