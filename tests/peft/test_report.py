"""The line that scripts grep for, and the tables."""

import pytest
from torch import nn

from mmadapt import inject
from mmadapt.peft import LayerReport, Report


@pytest.mark.parametrize(
    ('trainable', 'total', 'line'),
    [
        (1491594, 6009438, 'trainable params: 1491594 || all params: 6009438 || trainable%: 24.82'),
        (0, 0, 'trainable params: 0 || all params: 0 || trainable%: 0.00'),
        (1, 3, 'trainable params: 1 || all params: 3 || trainable%: 33.33'),
        (7, 7, 'trainable params: 7 || all params: 7 || trainable%: 100.00'),
    ],
)
def test_the_line_is_written_exactly_so(trainable, total, line):
    assert Report(trainable=trainable, total=total).line() == line


def test_the_count_is_of_parameters_each_once():
    shared = nn.Linear(2, 3)
    model = nn.ModuleList([shared, shared, nn.Linear(1, 1)])
    model[2].requires_grad_(False)
    report = Report()
    report.count(model)
    assert (report.trainable, report.total) == (9, 11)


def test_the_table_has_a_row_for_every_layer_and_ends_with_warnings_and_line():
    model = nn.ModuleDict(dict(body=nn.Conv2d(3, 4, 3), bbox_head=nn.Linear(4, 2)))
    report = inject(model, dict(method=dict(type='LoRA', r=3)))
    report.warnings.append('WARNING: something')
    text = str(report).splitlines()
    assert text[-1] == report.line()
    assert text[-2] == 'WARNING: something'
    body, head = (next(row for row in text if f' {name} ' in row) for name in ('body', 'bbox_head'))
    assert [cell.strip() for cell in body.strip('│').split('│')] == [
        'body',
        'Conv2d',
        '4x3x3x3',
        'adapt',
        "targets='auto'",
        '3',
        '93',
        '112',
    ]
    assert [cell.strip() for cell in head.strip('│').split('│')] == [
        'bbox_head',
        'Linear',
        '2x4',
        'train',
        'one-stage head',
        '',
        '0',
        '10',
    ]


def test_a_long_name_is_not_cut():
    name = '.'.join(['backbone'] * 20)
    row = LayerReport(name, 'Conv2d', (1, 1, 1, 1), 'freeze', 'x' * 60, names=3)
    assert f'{name} (x3)' in str(Report(layers=[row]))


def test_the_summary_adds_up_what_has_one_fate_in_one_part():
    layers = [
        LayerReport(f'neck.{i}', 'Conv2d', (1,), 'adapt', 'auto', extra=1000, parameters=7)
        for i in range(3)
    ]
    layers.append(LayerReport('neck.3', 'Conv2d', (1,), 'freeze', 'norm', parameters=5))
    rows = [
        [cell.strip() for cell in row.strip('│').split('│')]
        for row in Report(layers=layers).summary().splitlines()
        if 'neck' in row
    ]
    assert rows == [
        ['neck', 'adapt', 'auto', '3', '21', '3,000'],
        ['neck', 'freeze', 'norm', '1', '5', '0'],
    ]
