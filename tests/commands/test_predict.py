"""`mmadapt predict`: what it writes, and what it refuses."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.apis import inference_detector, init_detector
from PIL import Image
from pycocotools.coco import COCO

from mmadapt.commands.predict import main
from mmadapt.errors import UserError
from mmadapt.inference.sources import Video


@pytest.fixture
def typed(tmp_path, monkeypatch):
    """Runs the command in a folder of its own, on the CPU."""
    monkeypatch.chdir(tmp_path)

    def run(*words, **options):
        return main([*map(str, words), '--device', 'cpu'])

    return run


def read(folder='predictions'):
    return [json.loads(Path(folder, f'{name}.json').read_text()) for name in ('images', 'results')]


def test_an_adapter_folder_alone_is_enough(typed, files, capsys):
    assert typed(files.face, files.folder / 'images') == 0
    images, results = read()
    assert [image['file_name'] for image in images['images']] == ['0.png', '1.png', '2.png']
    assert [image['width'] for image in images['images']] == [96, 104, 112]
    assert [category['name'] for category in images['categories']] == ['face', 'mask']
    assert {entry['category_id'] for entry in results} <= {1, 2}
    assert not any('adapter' in entry for entry in results)
    for name in ('0.png', '1.png', '2.png'):
        drawn = cv2.imread(f'predictions/drawings/{name}')
        assert drawn.shape == cv2.imread(str(files.folder / 'images' / name)).shape
    assert '3 images: predictions/results.json' in capsys.readouterr().out


def test_the_results_are_those_of_coco_and_of_mmdetection(typed, files):
    typed(files.config, files.images[0], '--checkpoint', files.base)
    images, results = read()
    found = COCO('predictions/images.json').loadRes('predictions/results.json').anns.values()
    model = init_detector(files.config, files.base, device='cpu', palette='random', cfg_options={})
    wanted = inference_detector(model, files.images[0]).pred_instances
    names = {category['id']: category['name'] for category in images['categories']}
    order = wanted.scores.argsort(descending=True, stable=True)
    assert [names[each['category_id']] for each in found] == [
        ('cat', 'dog', 'car')[label] for label in wanted.labels[order]
    ]
    x1, y1, x2, y2 = wanted.bboxes[order].double().numpy().T
    np.testing.assert_allclose(
        [each['bbox'] for each in found], np.stack([x1, y1, x2 - x1, y2 - y1], 1), atol=1e-4
    )
    np.testing.assert_allclose(
        [each['score'] for each in found], wanted.scores[order].numpy(), atol=1e-7
    )


def test_a_base_and_adapters_are_one_list_with_who_has_seen_what(typed, files):
    adapters = ['none', f'face={files.face}', f'boats={files.boats}']
    typed(files.face, *files.images, '--no-drawings', '--no-merge', '--adapters', *adapters)
    images, results = read()
    names = [category['name'] for category in images['categories']]
    assert names == ['cat', 'dog', 'car', 'face', 'mask', 'boat']
    assert {entry['adapter'] for entry in results} == {'none', 'face', 'boats'}
    cats = {entry['adapter'] for entry in results if entry['category_id'] == 1}
    assert cats == {'none', 'boats'}
    assert not Path('predictions/drawings').exists()


def test_boxes_that_are_not_sure_are_written_and_not_drawn(typed, files):
    drawn = []
    for folder, score in (('all', 0), ('none', 1)):
        typed(files.face, files.images[0], '--out', folder, '--score-thr', score)
        drawn.append(cv2.imread(f'{folder}/drawings/0.png'))
    assert read('all') == read('none')
    image = cv2.imread(files.images[0])
    np.testing.assert_array_equal(drawn[1], image)
    assert (drawn[0] != image).any()


def write_video(path, frames=4):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), 10.0, (96, 64))
    for index in range(frames):
        image = np.full((64, 96, 3), 40 * index, dtype=np.uint8)
        writer.write(cv2.rectangle(image, (10, 10), (50, 50), (0, 0, 250), -1))
    writer.release()


def test_the_frames_of_a_video_are_drawn_into_another(typed, files, tmp_path):
    write_video(tmp_path / 'clip.mp4')
    typed(files.face, 'clip.mp4', files.images[0])
    images, _ = read()
    assert [image['file_name'] for image in images['images']] == [
        '0.png',
        'clip/000000',
        'clip/000001',
        'clip/000002',
        'clip/000003',
    ]
    reader = cv2.VideoCapture('predictions/drawings/clip.mp4')
    assert reader.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    assert reader.get(cv2.CAP_PROP_FPS) == 10
    assert reader.read()[1].shape == (64, 96, 3)


def test_images_of_one_name_from_two_folders_are_not_written_over_each_other(
    typed, files, tmp_path
):
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        Path(tmp_path, folder, 'x.png').write_bytes(Path(files.images[0]).read_bytes())
    typed(files.face, 'a', 'b')
    names = [image['file_name'] for image in read()[0]['images']]
    assert names == ['a/x.png', 'b/x.png']
    assert all(Path('predictions/drawings', name).is_file() for name in names)


def test_images_and_videos_that_differ_by_their_suffix_have_files_of_their_own(
    typed, files, tmp_path
):
    folder = tmp_path / 'all'
    (folder / 'clip').mkdir(parents=True)
    for name in ('a.png', 'a.jpg', 'a.bmp', 'b.bmp', 'clip/000000.png'):
        Image.open(files.images[0]).save(folder / name)
    (folder / 'other').mkdir()
    for name in ('clip.mp4', 'clip.avi', 'other/clip.mp4'):
        write_video(folder / name, 2)
    videos = [folder / name for name in ('clip.mp4', 'clip.avi', 'other/clip.mp4', 'clip.mp4')]
    typed(files.face, folder, folder / 'a.png', *videos)
    names = [image['file_name'] for image in read()[0]['images']]
    assert len(names) == len({*names}) == 5 + 3 * 2
    drawn = [p for p in Path('predictions/drawings').rglob('*') if p.is_file()]
    assert {p.relative_to('predictions/drawings').as_posix() for p in drawn} >= {
        'a.png',
        'a.jpg',
        'a.bmp.jpg',
        'b.jpg',
        'clip/000000.png',
        'clip.avi.mp4',
    }
    assert len(drawn) == 5 + 3


def test_a_file_that_is_named_twice_is_looked_at_once(typed, files):
    typed(files.face, files.folder / 'images', *files.images[:2])
    assert [image['file_name'] for image in read()[0]['images']] == ['0.png', '1.png', '2.png']


def test_a_video_that_breaks_off_is_said_and_what_there_was_is_written(
    typed, files, tmp_path, capsys
):
    writer = cv2.VideoWriter('clip.avi', cv2.VideoWriter.fourcc(*'MJPG'), 10.0, (96, 64))
    for _ in range(20):
        writer.write(np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8))
    writer.release()
    assert typed(files.face, 'clip.avi', '--no-drawings') == 0
    whole = (tmp_path / 'clip.avi').read_bytes()
    (tmp_path / 'clip.avi').write_bytes(whole[: len(whole) // 2])
    assert typed(files.face, 'clip.avi', '--out', 'broken') == 1
    said = capsys.readouterr().out
    seen = len(read('broken')[0]['images'])
    assert 0 < seen < 12
    assert f'clip.avi: it ends after {seen} of the 20 frames that it says it has' in said
    drawn = cv2.VideoCapture('broken/drawings/clip.mp4')
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == seen


@pytest.mark.parametrize(
    ('promised', 'seen', 'short'),
    [(20, 19, False), (20, 18, True), (1000, 990, False), (1000, 989, True), (0, 7, False)],
)
def test_how_many_frames_a_container_says_is_about_right(promised, seen, short):
    assert (Video('a.mp4', promised, 25.0).why_short(seen) is not None) == short


def test_an_image_that_cannot_be_read_costs_none_of_the_others(typed, files, tmp_path, capsys):
    whole = Path(files.images[0]).read_bytes()
    (tmp_path / 'half.png').write_bytes(whole[: len(whole) // 2])
    assert typed(files.face, 'half.png', files.images[0]) == 1
    assert [image['file_name'] for image in read()[0]['images']] == ['0.png']
    assert 'not read: half.png: image file is truncated' in capsys.readouterr().out


def test_what_was_seen_before_a_stop_is_written(typed, files, monkeypatch):
    from mmadapt.inference.results import Results

    add = Results.add

    def stop(self, result):
        if len(self) == 2:
            raise KeyboardInterrupt
        add(self, result)

    monkeypatch.setattr(Results, 'add', stop)
    with pytest.raises(KeyboardInterrupt):
        typed(files.face, *files.images)
    assert len(read()[0]['images']) == 2


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['gone.png'], 'no image or folder gone.png; nearest: broken.png'),
        (['{images}/0.pn'], r'no image or folder .*; nearest: .*0.png'),
        (['.'], r'\. has no image in it \(.bmp'),
        (['{face}/adapter_config.json'], 'is neither an image .* nor a video'),
        (['broken.mp4'], r'broken.mp4 cannot be read as a video by OpenCV.*ffmpeg'),
        (['broken.png'], 'broken.png cannot be read: cannot identify image file$'),
        (['{images}', '--adapters', 'face'], 'face: neither NAME=FOLDER nor none'),
        (['{images}', '--adapters', 'none={face}'], 'none is the base itself'),
        (['{images}', '--adapters', 'a={face}', 'a={face}'], 'names a twice'),
        (['{images}', '--adapters', 'a=nowhere'], 'a=nowhere: there is no adapter folder nowhere$'),
        (['{images}', '--adapters', 'a={near}'], r'no adapter folder \S+fac; nearest: \S+/face$'),
        (['{images}', '--adapters', 'a={above}'], r'no adapter folder \S+; nearest: \S+/boats$'),
        (['{images}', '--adapters', 'none', 'a={face}', 'none'], 'names none twice'),
        (['{images}', '--adapters', 'nnoe'], 'nnoe: neither NAME=FOLDER nor none, which is the b'),
        (['{images}', '--out', '{images}'], 'images is there; --out names another'),
        (['{images}', '--score-thr', '2'], '--score-thr must be from 0 to 1'),
        (['{images}', '--checkpoint', 'gone.pth'], 'no checkpoint gone.pth'),
        (['{images}', '--boxes', 'gone.json'], '--boxes gone.json: FileNotFoundError'),
        (['{images}', '--boxes', 'boxes.json'], 'this model finds objects by itself'),
        (['{images}', '--cfg-options', 'a=1'], 'change a config, and .*face is an adapter folder'),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(typed, files, words, message, tmp_path):
    for name in ('broken.mp4', 'broken.png'):
        Path(name).write_bytes(b'no image')
    image = dict(id=1, file_name='0.png')
    entry = dict(image_id=1, bbox=[1, 2, 3, 4])
    Path('boxes.json').write_text(json.dumps(dict(images=[image], annotations=[entry])))
    if words == ['.']:
        Path('broken.png').unlink()
        Path('broken.mp4').unlink()
    places = dict(images=files.folder / 'images', face=files.face)
    places.update(near=files.face[:-1], above=files.folder)
    with pytest.raises(UserError, match=message):
        typed(files.face, *(word.format(**places) for word in words))
    assert not Path('predictions').exists()


def test_a_folder_that_is_no_model_and_a_base_that_is_gone_are_one_line(typed, files, tmp_path):
    with pytest.raises(UserError, match='images is neither an adapter folder nor a config$'):
        typed(files.folder / 'images', files.images[0])
    with pytest.raises(UserError, match=r'nor a config; nearest: \S+/boats$'):
        typed(files.folder, files.images[0])
    with pytest.raises(
        UserError, match=r'no adapter folder and no config \S+fac; nearest: \S+face$'
    ):
        typed(files.face[:-1], files.images[0])
    with pytest.raises(UserError, match=r'no adapter folder and no config \S+/none/face$'):
        typed(tmp_path / 'none/face', files.images[0])
    content = json.loads(Path(files.face, 'adapter_config.json').read_text())
    folder = tmp_path / 'moved'
    folder.mkdir()
    for file in Path(files.face).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    content['mmadapt']['base']['load_from'] = str(tmp_path / 'gone.pth')
    (folder / 'adapter_config.json').write_text(json.dumps(content))
    with pytest.raises(UserError, match=r'gone.pth not found.* --checkpoint FILE of `mmadapt pred'):
        typed(folder, files.images[0])
    assert typed(folder, files.images[0], '--checkpoint', files.base) == 0


def test_the_base_alone_is_asked_for_by_the_folder_of_an_adapter(typed, files):
    assert typed(files.face, *files.images, '--adapters', 'none', '--no-drawings') == 0
    images, results = read()
    assert [category['name'] for category in images['categories']] == ['cat', 'dog', 'car']
    typed(files.config, *files.images, '--checkpoint', files.base, '--no-drawings', '--out', 'base')
    assert results == read('base')[1] != []


def test_an_adapter_that_does_not_say_what_its_model_is_needs_its_config(typed, files, tmp_path):
    shutil.copytree(files.face, tmp_path / 'bare')
    (tmp_path / 'bare' / 'model_config.json').unlink()
    with pytest.raises(
        UserError, match='bare does not say what .*; name the config of its training in its place'
    ):
        typed('bare', files.images[0])
    assert not Path('predictions').exists()
    words = ['--adapters', 'face=bare', '--checkpoint', files.base]
    assert typed(files.config, files.images[0], *words) == 0


def test_gray_and_small_images_are_seen_too(typed, files, tmp_path):
    Image.new('L', (5, 7)).save('gray.png')
    Image.new('P', (9, 3)).save('palette.png')
    Image.new('RGBA', (8, 8)).save('alpha.png')
    assert typed(files.face, 'gray.png', 'palette.png', 'alpha.png') == 0
    sizes = [(image['width'], image['height']) for image in read()[0]['images']]
    assert sizes == [(5, 7), (9, 3), (8, 8)]
