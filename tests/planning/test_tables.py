"""Where the images' size comes from, and tables of any terminal's width."""

import io
import warnings

import pytest
from rich.console import Console

from mmadapt import UserError
from mmadapt.commands import measure, plan
from mmadapt.config_files import CONFIGS
from mmadapt.measuring.tables import show_measured
from mmadapt.peft.report import LayerReport, Report
from mmadapt.planning.tables import PLANNED, show_plan

RTMDET = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'


@pytest.fixture
def planned(monkeypatch):
    """Return a function that gives the tool arguments, and returns the setting it plans with."""
    settings = []

    def plan_rows(recipes, setting, *_):
        settings.append((setting, [recipe.name for recipe in recipes]))
        return []

    monkeypatch.setattr(plan, 'plan_rows', plan_rows)
    monkeypatch.setattr(measure, 'run_rows', plan_rows)
    monkeypatch.setattr(measure, 'show_measured', lambda *_: None)

    def _planned(config, *arguments, command=plan):
        memory = ['--memory', '8GiB'] if command is plan else []
        command.main([str(config), *memory, *arguments])
        return settings.pop()

    return _planned


@pytest.mark.parametrize('command', [plan, measure])
def test_the_size_is_that_of_the_configs_pipeline_padded_as_its_data_preprocessor_does(
    planned, command, tmp_path
):
    names = ['--recipes', 'none']
    assert planned(RTMDET, *names, command=command)[0].size == (640, 640)
    assert planned(CONFIGS / 'peft' / 'rtmdet_tiny_lora_face.py', *names, command=command)[
        0
    ].size == (640, 640)
    path = tmp_path / 'small.py'
    path.write_text(
        "_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'\n"
        'train_dataloader = dict(dataset=dict(pipeline=[dict('
        "type='mmdet.Resize', scale=(192, 180))]))\n"
    )
    assert planned(path, *names, command=command)[0].size == (192, 192)
    assert planned(path, *names, '--size', '70', '100', command=command)[0].size == (96, 128)
    path.write_text(
        f'_base_ = {RTMDET!r}\ntrain_dataloader = dict(dataset=dict(pipeline=[]))\n'
        'custom_hooks = []\n'
    )
    with pytest.raises(
        UserError,
        match='small.py: the pipeline of train_dataloader says no size; '
        'say with --size HEIGHT WIDTH',
    ):
        planned(path, *names, command=command)


def test_a_config_with_peft_is_planned_with_it(planned):
    face = CONFIGS / 'peft' / 'rtmdet_tiny_lora_face.py'
    ways = ['', '+rematerialize', '+amp', '+amp+rematerialize', '+checkpoint', '+amp+checkpoint']
    assert planned(face)[1] == [f'peft{way}' for way in ways]
    assert planned(RTMDET)[1][:3] == ['none', 'rematerialize', 'amp']


def test_a_size_that_a_model_does_not_take_ends_in_a_line_and_no_package_warns_before_it():
    line = [RTMDET, '--memory', '8GiB', '--size', '72', '72', '--batch', '1']
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter('always')
        with pytest.raises(UserError, match='coco.py: Sizes of tensors .* try --size 96 96'):
            plan.main([*line, '--recipes', 'none'])
    assert warned == []


NAMES = ['none', 'lora+amp+checkpoint', 'fsdp2+amp+checkpoint:backbone+checkpoint:encoder']


def report_of(rows):
    return dict(
        config='mmdet::dino/dino-5scale_swin-l_8xb2-12e_coco.py',
        size=(800, 1333),
        batch=2,
        processes=8,
        memory_bytes=24 * 2**30,
        rows=rows,
        recommended=None,
        complete=True,
        device_type='cpu',
    )


def printed(show, report, width):
    file = io.StringIO()
    show(report, Console(width=width, file=file))
    return [line for line in file.getvalue().splitlines() if line[:1] in '│┃┏┡└']


def test_a_plan_fits_80_columns_and_a_wider_one_has_all_of_them():
    bytes_of = dict(
        saved=37.5,
        activation=39.97,
        weight=1,
        gradient=0.5,
        optimizer=2,
        exchange=0.57,
        total=44.04,
        margin=8.99,
    )
    rows = [
        dict(
            {f'{key}_bytes': value * 2**30 for key, value in bytes_of.items()},
            recipe=name,
            fits=False,
            reason='',
        )
        for name in NAMES
    ]
    narrow = printed(show_plan, report_of(rows), 80)
    assert max(map(len, narrow)) <= 80
    row = next(line for line in narrow if 'lora+amp+checkpoint' in line)
    assert [cell.strip() for cell in row.strip('│').split('│')] == [
        'lora+amp+checkpoint',
        '39.97',
        '4.07',
        '44.04',
        '8.99',
        'no',
    ]
    wide = printed(show_plan, report_of(rows), 250)
    assert all(column.title in wide[1] for column in PLANNED)
    assert not any('…' in line for line in (*narrow, *wide))


def test_what_was_measured_fits_80_columns_too():
    rows = [
        dict(
            recipe=name,
            status='',
            saved_bytes=2**30,
            iteration_s=1.2345,
            parameters=10,
            parameter_bytes=2**30,
            gradient_bytes=2**29,
            optimizer_bytes=2**31,
            trainable=5,
            loss_is_finite=True,
        )
        for name in NAMES
    ]
    rows.append(dict(recipe='ddp', status='out of memory', reason='as it is'))
    narrow = printed(show_measured, report_of(rows), 80)
    assert max(map(len, narrow)) <= 80
    assert 'weights' not in ''.join(narrow)
    assert 'weights MiB' in printed(show_measured, report_of(rows), 250)[1]


def test_the_layers_of_a_report_fit_80_columns_and_in_a_file_they_have_all():
    report = Report(
        [
            LayerReport(
                'neck.top_down_blocks.1.blocks.0.conv2.pointwise_conv.conv',
                'Conv2d',
                (192, 384, 3, 3),
                'adapt',
                'grouped convolution',
                rank=32,
                extra=1_645_120,
                parameters=12_170_368,
            )
        ]
    )
    narrow = report.text(80).splitlines()
    assert max(map(len, narrow)) <= 80
    assert '1,645,120' in report.text(80)
    assert '192x384x3x3' in str(report)
    assert report.text() == str(report)
    assert max(map(len, report.summary(60).splitlines())) <= 60
