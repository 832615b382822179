"""What `mmadapt dataset` prints and how it ends: lines to paste, marked boxes, no disk."""

import errno
import json
from pathlib import Path

import pytest
from coco_files import SQUARE, box, write_export
from mmengine.config import Config

from mmadapt.commands import dataset as tool
from mmadapt.datasets import check_data


def pets(tmp_path, **changes):
    return write_export(
        tmp_path / 'my pets', [box(i, category=1 + i % 2, **changes) for i in range(1, 7)]
    )


def pasted(said, tmp_path, block):
    """The config that the printed lines of a block make."""
    begins = [i for i, line in enumerate(said.splitlines()) if line.startswith('A config of')]
    lines = said.splitlines()[begins[block] :]
    # The sentence may be wrapped, the lines of code may not.
    lines = lines[next(i for i, line in enumerate(lines) if line.startswith('_base_')) :]
    path = tmp_path / f'pasted_{block}.py'
    path.write_text('\n'.join(lines[: lines.index('')] if '' in lines else lines))
    return Config.fromfile(path)


def test_the_printed_lines_are_a_config_that_passes_the_checks(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '40')
    root = pets(tmp_path, segmentation=SQUARE)
    path = root / 'validation' / 'annotations_coco.json'
    path.write_text((root / 'train' / 'annotations_coco.json').read_text())
    out = tmp_path / 'a folder with a long name' / 'pets.py'
    assert tool.main([str(root), '--out', str(out)]) == 0
    said = capsys.readouterr().out
    boxes, masks = pasted(said, tmp_path, 0), pasted(said, tmp_path, 1)
    for cfg, metric in ((boxes, 'bbox'), (masks, ['bbox', 'segm'])):
        assert cfg.train_dataloader.dataset.data_root == f'{root}/'
        assert cfg.val_evaluator.metric == cfg.test_evaluator.metric == metric
        check_data(cfg)
    assert boxes.model.bbox_head.num_classes == masks.model.roi_head.mask_head.num_classes == 2


def test_marked_boxes_are_shown_apart_and_become_boxes_only_when_asked(tmp_path, capsys):
    root, out = pets(tmp_path, iscrowd=1), tmp_path / 'pets.py'
    for option in ([], ['--fix']):
        assert tool.main([str(root), '--out', str(out), *option]) == 1
        said = capsys.readouterr().out
        assert 'boxes left out' in said
        assert 'the whole split: 6 marked iscrowd' in said
        assert not out.exists()
        assert not list(root.rglob('*fixed.json'))
    assert tool.main([str(root), '--out', str(out), '--fix-ignored']) == 0
    said = capsys.readouterr().out
    assert 'set iscrowd of 6 boxes to 0, as was asked for' in said
    assert 'boxes left out' not in said
    content = json.loads((root / 'train' / 'annotations_fixed.json').read_text())
    assert [a['iscrowd'] for a in content['annotations']] == [0] * 6
    check_data(
        Config(
            dict(
                model=dict(bbox_head=dict(num_classes=2)),
                train_dataloader=dict(dataset=Config.fromfile(out).pets_train),
            )
        )
    )


def test_some_marked_boxes_stand_in_the_header_of_the_file_too(tmp_path):
    root, out = pets(tmp_path), tmp_path / 'pets.py'
    path = root / 'train' / 'annotations_coco.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['iscrowd'] = 1
    path.write_text(json.dumps(content))
    assert tool.main([str(root), '--out', str(out)]) == 0
    header = [line.split() for line in out.read_text().splitlines() if line.startswith('#   ')]
    assert ['#', 'boxes', '5', '2'] in header
    assert ['#', 'left', 'out', '1', '0'] in header


def test_a_file_that_cannot_be_written_is_one_line(tmp_path, capsys, monkeypatch):
    root = pets(tmp_path)
    closed = tmp_path / 'closed'
    closed.mkdir(mode=0o555)
    assert tool.main([str(root), '--out', str(closed / 'new' / 'pets.py')]) == 1
    assert f'{closed}/new/pets.py cannot be written: {closed} is marked read-only; nothing was' in (
        capsys.readouterr().out
    )
    (tmp_path / 'file').write_text('')
    assert tool.main([str(root), '--out', str(tmp_path / 'file' / 'pets.py')]) == 1
    assert '/file/pets.py cannot be written: ' in capsys.readouterr().out


@pytest.mark.parametrize('fix', [[], ['--fix']])
def test_a_full_disk_is_one_line_and_leaves_the_older_file(fix, tmp_path, capsys, monkeypatch):
    root, out = pets(tmp_path), tmp_path / 'pets.py'
    if fix:
        path = root / 'train' / 'annotations_coco.json'
        path.write_text(path.read_text().replace('"area": 400', '"area": 0'))
        (root / 'train' / 'annotations_fixed.json').write_text('older')
    out.write_text('older')
    write = Path.write_text

    def full(path, text, **options):
        write(path, text[:10], **options)
        raise OSError(errno.ENOSPC, 'No space left on device', str(path))

    monkeypatch.setattr(Path, 'write_text', full)
    assert tool.main([str(root), '--out', str(out), '--force', *fix]) == 1
    assert capsys.readouterr().out.count('No space left on device') == 1
    assert out.read_text() == 'older'
    assert not list(tmp_path.rglob('*.part'))
    if fix:
        assert (root / 'train' / 'annotations_fixed.json').read_text() == 'older'
