"""What files of others are called ends up in comments, never in code."""

import pytest
from coco_files import box, write_export
from label_folders import class_folders, label_maps
from mmengine.config import Config

from mmadapt.commands.dataset import main as dataset
from mmadapt.datasets.base_config import in_comments

CODE = 'a\nraise RuntimeError("it runs")\nb'


def test_a_line_stays_one_line():
    assert in_comments([CODE], '  ') == '#   a\\nraise RuntimeError("it runs")\\nb'
    assert in_comments(['Gesicht\r', 'é']) == '# Gesicht\\r\n# é'


@pytest.mark.parametrize('kind', ['boxes', 'maps', 'folders'])
def test_a_class_of_several_lines_does_not_run(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, more = 'data.py', []
    if kind == 'boxes':
        write_export(tmp_path / 'set', [box(1), box(2, 2, 2)], classes=(CODE, 'dog'))
    elif kind == 'maps':
        label_maps(tmp_path / 'set')
        more = ['--classes', f'{CODE},dog']
    else:
        class_folders(tmp_path / 'set', ('dog', CODE), ('dog', CODE))
    if dataset(['set', '--out', out, *more]) == 0:
        Config.fromfile(out)
        lines = (tmp_path / out).read_text().splitlines()
        assert not any(line.startswith('raise') for line in lines)
