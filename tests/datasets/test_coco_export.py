"""Exports read and checked: every layout is found, every fault is named where it is."""

import copy
import json
from pathlib import Path

import pytest
from PIL import Image

from mmadapt.datasets import read_export
from mmadapt.datasets.coco_fix import fix_annotations, write_fixed
from mmadapt.datasets.layout import find_annotations
from mmadapt.datasets.problems import Kind, Problems

REPO = Path(__file__).parents[2]


def coco(names, boxes, categories=('cat', 'dog'), first_id=1):
    """A COCO file: images of 64 x 48; boxes are (image, category, [x, y, w, h]) by index."""
    return dict(
        images=[dict(id=i, file_name=n, width=64, height=48) for i, n in enumerate(names)],
        annotations=[
            dict(
                id=first_id + i,
                image_id=im,
                category_id=cat + 1,
                bbox=box,
                area=box[2] * box[3],
                iscrowd=0,
            )
            for i, (im, cat, box) in enumerate(boxes)
        ],
        categories=[dict(id=i + 1, name=n, supercategory='x') for i, n in enumerate(categories)],
    )


TRAIN = coco(['a.jpg', 'b.jpg'], [(0, 0, [1, 2, 30, 20]), (0, 1, [5, 5, 40, 40])])
VAL = coco(['c.jpg'], [(0, 0, [0, 0, 60, 48]), (0, 1, [0, 0, 10, 10])])


def write(folder, data, name='annotations_coco.json', seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(data))
    for i, image in enumerate(data['images']):
        color = (seed * 50 % 256, i * 20 % 256, 90)
        Image.new('RGB', (64, 48), color).save(folder / image['file_name'])


def make(tmp_path, train=TRAIN, val=VAL, edit=None):
    """Write an export, its training file changed by ``edit``."""
    train = copy.deepcopy(train)
    if edit:
        edit(train)
    write(tmp_path / 'train', train, seed=1)
    write(tmp_path / 'validation', val, seed=2)
    return tmp_path


def said(export):
    return '\n'.join(export.problems.lines())


def test_a_clean_export_has_counts_and_no_complaint(tmp_path):
    export = read_export(make(tmp_path))
    assert not export.problems.kinds('error')
    assert not export.problems.kinds('warning')
    train = export.splits['train']
    assert export.classes == ('cat', 'dog')
    assert dict(train.class_counts) == dict(cat=1, dog=1)
    assert train.num_empty == 1
    # 30 x 20 is under 32 x 32, 40 x 40 is not.
    assert dict(train.box_sizes) == dict(S=1, M=1)
    assert 'no test split' in said(export)


@pytest.mark.parametrize(
    'name',
    [
        'annotations_coco.json',
        'annotations.coco.json',
        '_annotations.coco.json',
        'annotations.json',
        'instances_default.json',
        'result.json',
    ],
)
@pytest.mark.parametrize('val', ['validation', 'valid', 'val'])
def test_annotation_files_are_found_under_their_usual_names(tmp_path, name, val):
    write(tmp_path / 'train', TRAIN, name, seed=1)
    write(tmp_path / val, VAL, name, seed=2)
    export = read_export(tmp_path)
    assert not export.problems.has_errors, said(export)
    assert export.splits['val'].ann_file == tmp_path / val / name


def test_the_layout_of_coco_itself_is_found(tmp_path):
    for split, data in (('train', TRAIN), ('val', VAL)):
        write(tmp_path / f'{split}2017', data, 'x', seed=len(split))
        (tmp_path / f'{split}2017' / 'x').unlink()
        (tmp_path / 'annotations').mkdir(exist_ok=True)
        for kind in ('instances', 'captions'):
            (tmp_path / 'annotations' / f'{kind}_{split}2017.json').write_text(json.dumps(data))
    export = read_export(tmp_path)
    assert not export.problems.has_errors, said(export)
    assert export.splits['train'].ann_file.name == 'instances_train2017.json'
    assert export.splits['train'].image_dir == tmp_path / 'train2017'


def test_images_in_a_subfolder_are_found(tmp_path):
    make(tmp_path)
    images = tmp_path / 'train' / 'images'
    images.mkdir()
    for path in (tmp_path / 'train').glob('*.jpg'):
        path.rename(images / path.name)
    export = read_export(tmp_path)
    assert not export.problems.has_errors, said(export)
    assert export.splits['train'].image_dir == images


def test_two_candidates_are_listed_with_the_option_that_chooses(tmp_path):
    make(tmp_path)
    (tmp_path / 'train' / 'annotations.json').write_text(json.dumps(TRAIN))
    export = read_export(tmp_path)
    assert 'train' not in export.splits
    assert '--train-ann train/annotations.json' in said(export)
    assert '--train-ann train/annotations_coco.json' in said(export)
    chosen = read_export(tmp_path, dict(train='train/annotations.json'))
    assert chosen.splits['train'].ann_file.name == 'annotations.json'
    assert not chosen.problems.has_errors


def test_a_choice_outside_the_folder_is_refused(tmp_path):
    make(tmp_path / 'export')
    (tmp_path / 'other.json').write_text(json.dumps(TRAIN))
    problems = Problems()
    chosen = dict(train=str(tmp_path / 'other.json'), val='validation/anotations_coco.json')
    assert find_annotations(tmp_path / 'export', chosen, ['train', 'val'], problems) == {}
    assert 'did you mean validation/annotations_coco.json?' in '\n'.join(problems.lines())
    assert 'asked for by --train-ann' in '\n'.join(problems.lines())


def test_a_missing_split_says_what_the_folder_holds(tmp_path):
    write(tmp_path / 'train', TRAIN)
    write(tmp_path / 'eval', VAL)
    text = said(read_export(tmp_path))
    assert 'val split' in text
    assert 'eval/, train/' in text


def annotation(**changes):
    return lambda data: data['annotations'][0].update(changes)


def without(place, key):
    return lambda data: data[place][0].pop(key)


FAULTS = {
    'image id twice': (lambda d: d['images'][1].update(id=0), 'image ids used twice', 'a.jpg'),
    'image listed twice': (
        lambda d: d['images'].append(dict(d['images'][0], id=7)),
        'images listed twice',
        'ids 0, 7',
    ),
    'annotation id twice': (
        lambda d: d['annotations'][1].update(id=1),
        'annotation ids used twice',
        'id 1, 2 times',
    ),
    'no width': (without('images', 'width'), 'keys missing', 'images[0]: width is missing'),
    'id as text': (annotation(id='a'), 'evaluation needs a number', "annotations: id is 'a'"),
    'no id': (annotation(id=None), 'keys missing', 'annotations[0]: id is None'),
    'no bbox': (without('annotations', 'bbox'), 'keys missing', 'annotations[0]: bbox'),
    'no area': (without('annotations', 'area'), 'without a positive area', 'area None'),
    'NaN': (annotation(bbox=[0, 0, float('nan'), 4]), 'four finite numbers', 'nan'),
    'three numbers': (annotation(bbox=[0, 0, 4]), 'four finite numbers', '[0, 0, 4]'),
    'no width of box': (annotation(bbox=[3, 3, 0, 4]), 'positive width and height', '[3, 3, 0, 4]'),
    'box outside': (annotation(bbox=[64, 0, 9, 9]), 'wholly outside', 'in 64 x 48'),
    'undeclared': (annotation(category_id=9), 'not declared', 'category_id 9'),
    'category name twice': (
        lambda d: d['categories'].append(dict(id=3, name='dog')),
        'category names used twice',
        "'dog'",
    ),
    'category id twice': (
        lambda d: d['categories'][1].update(id=1),
        'category ids used twice',
        'id 1',
    ),
    'no list': (lambda d: d.pop('categories'), 'not in COCO', "no list 'categories'"),
    'no images': (lambda d: d.update(images=[], annotations=[]), 'no images', 'train'),
    'no boxes': (lambda d: d.update(annotations=[]), 'no boxes', 'train'),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_fault_in_the_annotations_is_an_error_with_its_place(tmp_path, fault):
    edit, title, place = FAULTS[fault]
    make(tmp_path)
    data = copy.deepcopy(TRAIN)
    edit(data)
    (tmp_path / 'train' / 'annotations_coco.json').write_text(json.dumps(data))
    export = read_export(tmp_path)
    assert export.problems.has_errors
    text = said(export)
    assert title in text
    assert place in text
    assert str(tmp_path / 'train' / 'annotations_coco.json') in text


def test_all_faults_are_listed_and_long_lists_are_cut(tmp_path):
    data = coco([f'{i}.jpg' for i in range(14)], [(i, 0, [0, 0, 0, 5]) for i in range(14)])
    data['annotations'].append(dict(data['annotations'][0], id=99, category_id=7))
    text = said(read_export(make(tmp_path, train=data)))
    assert 'positive width and height (15)' in text
    assert '... and 5 more' in text
    assert 'category_id 7' in text


def test_broken_json_is_named_with_line_and_column(tmp_path):
    make(tmp_path)
    path = tmp_path / 'validation' / 'annotations_coco.json'
    path.write_text('{"images": [],\n "annotations": [}')
    assert 'line 2, column 18' in said(read_export(tmp_path))


def test_a_list_is_not_taken_for_coco_format(tmp_path):
    make(tmp_path)
    (tmp_path / 'validation' / 'annotations_coco.json').write_text('[]')
    assert 'the file holds a list' in said(read_export(tmp_path))


def test_missing_truncated_and_resized_images_are_errors(tmp_path):
    names = ['a.jpg', 'b.jpg', 'c.jpg', 'd.png']
    data = coco(names, [(i, i % 2, [0, 0, 9, 9]) for i in range(4)])
    train = (
        make(
            tmp_path, train=data, val=coco(['v.jpg'], [(0, 0, [0, 0, 9, 9]), (0, 1, [0, 0, 9, 9])])
        )
        / 'train'
    )
    (train / 'a.jpg').rename(train / 'A.JPG')
    (train / 'b.jpg').write_bytes((train / 'b.jpg').read_bytes()[:-200])
    Image.new('RGB', (48, 64)).save(train / 'c.jpg')
    (train / 'd.png').write_text('not an image')
    text = said(read_export(tmp_path))
    assert 'a.jpg (the folder has A.JPG)' in text
    assert 'truncated' in text
    assert 'cannot identify image' in text
    assert 'c.jpg: 48 x 64, the file says 64 x 48' in text


def test_the_size_is_that_after_the_orientation_tag(tmp_path):
    """MMDetection's loader turns images upright, so an upright size in the file is right."""
    make(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (48, 64)).save(tmp_path / 'train' / 'a.jpg', exif=exif)
    assert not read_export(tmp_path).problems.has_errors


def test_images_in_two_splits_and_unlisted_images_are_warned_of(tmp_path):
    make(tmp_path)
    (tmp_path / 'validation' / 'c.jpg').write_bytes((tmp_path / 'train' / 'b.jpg').read_bytes())
    Image.new('RGB', (8, 8)).save(tmp_path / 'train' / 'stray.jpg')
    export = read_export(tmp_path)
    assert not export.problems.has_errors
    assert 'identical files' in said(export)
    assert 'stray.jpg' in said(export)


def test_versions_of_one_roboflow_image_in_two_splits_are_warned_of(tmp_path):
    train = coco(['p_jpg.rf.11.jpg'], [(0, 0, [0, 0, 9, 9]), (0, 1, [0, 0, 9, 9])])
    val = coco(['p_jpg.rf.22.jpg'], [(0, 0, [0, 0, 9, 9]), (0, 1, [0, 0, 9, 9])])
    assert 'same name or source' in said(read_export(make(tmp_path, train, val)))


def with_parent(data, name):
    data = copy.deepcopy(data)
    for category in data['categories']:
        category['supercategory'] = name
    data['categories'].insert(0, dict(id=0, name=name, supercategory='none'))
    return data


def test_roboflows_unused_parent_is_no_class_unless_asked_for(tmp_path):
    make(tmp_path, with_parent(TRAIN, 'pets'), with_parent(VAL, 'pets'))
    export = read_export(tmp_path)
    assert export.classes == ('cat', 'dog')
    assert export.dropped == ('pets',)
    assert not export.problems.has_errors
    assert "id 0, 'pets'" in said(export)
    assert read_export(tmp_path, keep_unused=True).classes == ('pets', 'cat', 'dog')


def test_a_used_category_with_id_0_stays_a_class(tmp_path):
    train = with_parent(TRAIN, 'pets')
    train['annotations'][0]['category_id'] = 0
    assert read_export(make(tmp_path, train, with_parent(VAL, 'pets'))).classes[0] == 'pets'


def test_a_parent_that_shares_a_class_name_is_an_error(tmp_path):
    """MMDetection finds categories by name, so it would count the class twice."""
    train = with_parent(coco(['a.jpg'], [(0, 0, [0, 0, 9, 9])], ['face']), 'face')
    val = with_parent(coco(['c.jpg'], [(0, 0, [0, 0, 9, 9])], ['face']), 'face')
    export = read_export(make(tmp_path, train, val))
    assert 'parent category has the name of a class' in said(export)
    written = write_fixed(export)
    files = {split.name: str(path.relative_to(tmp_path)) for split, path, _ in written}
    fixed = read_export(tmp_path, files)
    assert fixed.classes == ('face',)
    assert not fixed.problems.has_errors, said(fixed)


@pytest.mark.parametrize('names', [['dog', 'cat'], ['cat'], ['cat', 'dogs']])
def test_a_split_whose_labels_would_mean_something_else_is_an_error(tmp_path, names):
    val = coco(['c.jpg'], [(0, 0, [0, 0, 9, 9])], names)
    export = read_export(make(tmp_path, val=val))
    assert 'categories that differ from the training split' in said(export)


def test_boxes_of_a_category_that_training_lacks_are_an_error(tmp_path):
    val = coco(['c.jpg'], [(0, 2, [0, 0, 9, 9])], ['cat', 'dog', 'dogg'])
    assert "did you mean 'dog'?" in said(read_export(make(tmp_path, val=val)))


def test_annotation_id_0_is_warned_of_where_it_is_evaluated(tmp_path):
    val = coco(['c.jpg'], [(0, 0, [0, 0, 9, 9]), (0, 1, [0, 0, 9, 9])], first_id=0)
    train = coco(['a.jpg'], [(0, 0, [0, 0, 9, 9]), (0, 1, [0, 0, 9, 9])], first_id=0)
    lines = read_export(make(tmp_path, train, val)).problems.lines()
    assert sum('has id 0' in line for line in lines) == 1


def test_the_fix_makes_perfect_detections_perfect(tmp_path, capsys):
    """pycocotools counts the detection of annotation 0 as false; the corrected file does not."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    data = coco(['c.jpg'], [(0, 0, [0, 0, 9, 9]), (0, 0, [20, 20, 9, 9])], first_id=0)

    def score(content):
        path = tmp_path / 'ann.json'
        path.write_text(json.dumps(content))
        truth = COCO(str(path))
        found = [
            dict(image_id=0, category_id=1, bbox=a['bbox'], score=0.9)
            for a in content['annotations']
        ]
        evaluation = COCOeval(truth, truth.loadRes(found), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return evaluation.stats[0]

    fixed, done = fix_annotations(data, data['categories'])
    assert score(data) < 0.5
    assert score(fixed) == pytest.approx(1)
    assert done == ['numbered the annotations from 1']


def test_the_fix_keeps_labels_when_categories_are_reordered(tmp_path):
    val = coco(['c.jpg'], [(0, 0, [0, 0, 9, 9]), (0, 1, [5, 5, 9, 9])], ['dog', 'cat'])
    make(tmp_path, val=val)
    written = write_fixed(read_export(tmp_path))
    files = {split.name: str(path.relative_to(tmp_path)) for split, path, _ in written}
    assert list(files) == ['val']
    fixed = read_export(tmp_path, files)
    assert not fixed.problems.has_errors, said(fixed)
    first = fixed.splits['val'].data['annotations'][0]
    assert first['bbox'] == [0, 0, 9, 9]
    assert first['category_id'] == 2


def test_the_fix_changes_nothing_in_a_clean_file():
    fixed, done = fix_annotations(TRAIN, TRAIN['categories'])
    assert fixed == TRAIN
    assert done == []


def test_the_fix_drops_boxes_without_a_pixel_and_fills_area_and_crowd():
    data = copy.deepcopy(TRAIN)
    data['annotations'][0].update(bbox=[70, 0, 5, 5])
    del data['annotations'][1]['area'], data['annotations'][1]['iscrowd']
    fixed, done = fix_annotations(data, data['categories'])
    assert [(a['area'], a['iscrowd']) for a in fixed['annotations']] == [(1600, 0)]
    assert len(done) == 3


def test_problems_are_shown_errors_first_with_their_remedy():
    problems = Problems()
    problems.add(Kind('warning', 'gray sky', 'wait'), 'f')
    problems.add(Kind('error', 'no sun', 'move'), 'f', 'at noon')
    assert problems.lines() == [
        'f',
        '  error: no sun: at noon',
        '    -> move',
        '  warning: gray sky',
        '    -> wait',
    ]
