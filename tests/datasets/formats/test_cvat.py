"""CVAT's XML: what it says of shapes that globox leaves out or takes as they are not."""

import pytest
from label_files import annotations, classes, read_coco, write_image, write_text

from mmadapt.datasets.formats import convert
from mmadapt.datasets.formats.labeled import BAD_LABEL, LEFT_OUT, PAINTED, TURNED
from mmadapt.datasets.image_checks import MISSING
from mmadapt.errors import UserError

pytest.importorskip('globox')

BOX = '<box label="dog" xtl="10.5" ytl="20.0" xbr="30.5" ybr="60.0" occluded="0" z_order="0"/>'


def image(name, *shapes, subset='', size='width="200" height="100"'):
    more = f' subset="{subset}"' * bool(subset)
    return f'<image id="0" name="{name}"{more} {size}>{"".join(shapes)}</image>'


def xml(*images):
    meta = '<meta><task><labels><label><name>unused</name></label></labels></task></meta>'
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{meta}{"".join(images)}</annotations>'


def make(folder, *shapes):
    """Write a project's export with a subset for training and one for validation."""
    write_image(folder / 'images/a.jpg')
    write_image(folder / 'images/v.jpg')
    write_text(
        folder / 'annotations.xml',
        xml(image('a.jpg', *shapes, subset='Train'), image('v.jpg', BOX, subset='Validation')),
    )
    return folder


def run(folder, fraction=None):
    return convert(folder, ('train', 'val', 'test'), fraction, 0, overwrite=False)


def kinds(done):
    return {k: details for kinds in done.problems.found.values() for k, details in kinds.items()}


def boxes(folder, split='train'):
    return [box for found in read_coco(folder, split).values() for box in found[1:]]


def test_boxes_of_subsets_are_where_they_were_drawn(tmp_path):
    done = run(make(tmp_path, BOX, BOX.replace('dog', 'cat').replace('10.5', '0')))
    assert read_coco(tmp_path) == {
        'images/a.jpg': [(200, 100), ('dog', 10.5, 20, 20, 40), ('cat', 0, 20, 30.5, 40)]
    }
    assert read_coco(tmp_path, 'val') == {'images/v.jpg': [(200, 100), ('dog', 10.5, 20, 20, 40)]}
    assert classes(tmp_path) == ['cat', 'dog']
    assert not kinds(done)


def test_an_image_without_shapes_stays(tmp_path):
    run(make(tmp_path))
    assert read_coco(tmp_path) == {'images/a.jpg': [(200, 100)]}


@pytest.mark.parametrize(
    ('turn', 'expected'),
    [
        # 40 x 20 about (50, 50)
        (90, (40, 30, 20, 40)),
        (180, (30, 40, 40, 20)),
        (270, (40, 30, 20, 40)),
        (30, (27.679, 31.34, 44.641, 37.321)),  # 40 cos 30 + 20 sin 30, 40 sin 30 + 20 cos 30
        (330, (27.679, 31.34, 44.641, 37.321)),
    ],
)
def test_a_rotated_box_is_the_upright_one_around_it(turn, expected, tmp_path):
    shape = f'<box label="dog" xtl="30" ytl="40" xbr="70" ybr="60" rotation="{turn}.0"/>'
    done = run(make(tmp_path, shape))
    ((_, *box),) = boxes(tmp_path)
    assert box == pytest.approx(expected, abs=2e-3)
    assert kinds(done)[TURNED] == ["a.jpg: box 'dog'"]


def test_a_polygon_is_a_box_and_a_mask(tmp_path):
    shape = '<polygon label="dog" points="10.00,20.00;50.00,20.00;50.00,60.50"/>'
    run(make(tmp_path, shape))
    (ann,) = annotations(tmp_path)
    assert ann['bbox'] == [10, 20, 40, 40.5]
    assert ann['segmentation'] == [[10, 20, 50, 20, 50, 60.5]]
    assert ann['area'] == 40 * 40.5 / 2


def test_an_object_that_has_left_the_image_is_not_in_it(tmp_path):
    run(make(tmp_path, BOX, BOX.replace('z_order', 'outside="1" z_order')))
    assert len(annotations(tmp_path)) == 1


def test_a_painted_mask_is_its_box_and_other_shapes_are_left_out(tmp_path):
    done = run(
        make(
            tmp_path,
            '<mask label="dog" rle="3, 4" left="7" top="8" width="20" height="10"/>',
            '<points label="cat" points="1.0,2.0"/>',
            '<polyline label="cat" points="1.0,2.0;4,5"/>',
            '<ellipse label="cat" cx="1" cy="1" rx="1" ry="1"/>',
            '<tag label="night"/>',
        )
    )
    assert boxes(tmp_path) == [('dog', 7, 8, 20, 10)]
    assert classes(tmp_path) == ['dog']
    found = kinds(done)
    assert found[PAINTED] == ["a.jpg: mask 'dog'"]
    assert found[LEFT_OUT] == [
        "a.jpg: points 'cat'",
        "a.jpg: polyline 'cat'",
        "a.jpg: ellipse 'cat'",
        "a.jpg: tag 'night'",
    ]


@pytest.mark.parametrize(
    'shape',
    [
        '<box label="dog" xtl="30" ytl="1" xbr="10" ybr="9"/>',
        '<box label="dog" xtl="30" ytl="1" xbr="10"/>',
        '<polygon label="dog" points=""/>',
        '<polygon label="dog" points="1,2;3"/>',
        '<mask label="dog" left="1"/>',
    ],
)
def test_a_shape_that_cannot_be_read_is_an_error(shape, tmp_path):
    done = run(make(tmp_path, BOX, shape))
    (said,) = done.problems.found[f'{tmp_path}/annotations.xml'][BAD_LABEL]
    assert said.startswith(f"a.jpg: {shape[1:].split()[0]} 'dog'")
    assert not (tmp_path / 'mmadapt').exists()


def test_a_missing_image_is_an_error(tmp_path):
    make(tmp_path, BOX)
    (tmp_path / 'images/a.jpg').unlink()
    assert kinds(run(tmp_path))[MISSING] == ['a.jpg']


def test_tracks_of_a_video_say_what_to_export_instead(tmp_path):
    write_text(
        tmp_path / 'annotations.xml',
        '<annotations><track id="0" label="dog"><box frame="0" outside="0" xtl="1" ytl="1" xbr="5" ybr="5"/></track></annotations>',
    )
    with pytest.raises(UserError, match='tracks of a video.*"CVAT for images 1.1", with images'):
        run(tmp_path)


@pytest.mark.parametrize('layout', ['files', 'folders', 'named'])
def test_splits_are_found_without_subsets(layout, tmp_path):
    for split, name in (('train', 'x/one.jpg'), ('val', 'x/two.jpg')):
        folder = f'{split}/' if layout == 'folders' else ''
        write_image(tmp_path / f'{folder}images/{name}')
        file = 'annotations' if layout == 'folders' else f'{split}_annotations'
        write_text(tmp_path / f'{folder}{file}.xml', xml(image(name, BOX)))
    if layout == 'named':
        (tmp_path / 'annotations').mkdir()
        for path in tmp_path.glob('*.xml'):
            path.rename(tmp_path / 'annotations' / path.name)
    run(tmp_path)
    assert len(boxes(tmp_path)) == len(boxes(tmp_path, 'val')) == 1


def test_one_task_is_sharded_when_asked(tmp_path):
    names = [f'{i}.png' for i in range(20)]
    for name in names:
        write_image(tmp_path / name, (32, 24))
    write_text(tmp_path / 'annotations.xml', xml(*(image(name, BOX, size='') for name in names)))
    with pytest.raises(
        UserError, match=r'CVAT format and has no validation split.*subsets in CVAT'
    ):
        run(tmp_path)
    run(tmp_path, 0.4)
    assert len(boxes(tmp_path)) + len(boxes(tmp_path, 'val')) == 20
    assert next(iter(read_coco(tmp_path).values()))[0] == (32, 24)
