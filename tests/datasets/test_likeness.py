"""Images that two splits share although no byte of their files is the same."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from coco_files import box, coco
from PIL import Image, ImageEnhance, ImageFilter

from mmadapt.datasets import likeness, read_export
from mmadapt.datasets.image_checks import probe
from mmadapt.datasets.leaks import LOOKS_ALIKE, SAME_CONTENT, SAME_NAME, check_leaks
from mmadapt.datasets.likeness import find_alike, likeness_of
from mmadapt.datasets.problems import Problems

LEFT_RIGHT = Image.Transpose.FLIP_LEFT_RIGHT


def scene(seed, size=(320, 240)):
    """A photograph of nothing: blobs of a few sizes."""
    random = np.random.default_rng(seed)
    image = np.zeros((size[1], size[0], 3))
    for cells, strength in ((4, 60), (9, 50), (30, 30)):
        blobs = Image.fromarray(random.integers(0, 255, (cells, cells, 3), dtype=np.uint8))
        image += strength / 127 * (np.asarray(blobs.resize(size, Image.Resampling.BICUBIC)) - 127.0)
    return Image.fromarray(np.clip(image + 120, 0, 255).astype(np.uint8))


def saved(image, quality=90):
    stream = io.BytesIO()
    image.save(stream, 'JPEG', quality=quality)
    return Image.open(stream)


COPIES = dict(
    saved_again=lambda image: saved(image, 20),
    halved=lambda image: image.resize((160, 120)),
    stretched=lambda image: image.resize((640, 640)),
    darker=lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    brighter=lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    gray=lambda image: image.convert('L'),
    blurred=lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    cut=lambda image: image.crop((3, 3, 317, 237)),
)


def alike(first, second):
    return list(find_alike([likeness_of(i) for i in first], [likeness_of(i) for i in second]))


@pytest.mark.parametrize('change', COPIES)
@pytest.mark.parametrize('mirrored', [False, True])
def test_a_changed_copy_is_found_among_others(change, mirrored):
    copy = COPIES[change](scene(7))
    if mirrored:
        copy = saved(copy.transpose(LEFT_RIGHT))
    assert alike([scene(seed) for seed in range(10)], [scene(50), copy]) == [(7, 1, mirrored)]


def test_different_images_are_not_taken_for_the_same():
    seen = [likeness_of(scene(seed, (96, 72))) for seed in range(400)]
    assert not list(find_alike(seen[:200], seen[200:]))


def test_both_the_hash_and_the_pixels_have_to_be_alike():
    one, other = likeness_of(scene(1)), likeness_of(scene(2))
    for mixed in (replace(one, pixels=other.pixels), replace(other, pixels=one.pixels)):
        assert not list(find_alike([one], [mixed]))
    # Bright at the left, as the other, and nothing else in common.
    x = np.linspace(0, 150, 320)[None, :, None] * np.ones((240, 320, 3))
    shaded = [np.asarray(scene(seed), float) / 4 + x for seed in (1, 2)]
    seen = [likeness_of(Image.fromarray(image.astype(np.uint8))) for image in shaded]
    assert np.corrcoef(*(each.pixels.ravel() for each in seen))[0, 1] > 0.9
    assert not list(find_alike([seen[0]], [replace(seen[1], bits=seen[0].bits)]))


def test_an_image_of_16_bits_is_found_as_one_of_8():
    gray = scene(7).convert('L')
    wide = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    assert alike([scene(seed) for seed in range(10)], [wide]) == [(7, 0, False)]


def test_images_without_texture_are_not_all_the_same():
    random = np.random.default_rng(0)
    down = np.linspace(0, 1, 120)[:, None, None]
    plain = [np.full((120, 160, 3), value) for value in (0, 90, 200, 255)]
    # A sky, a wall under a lamp, noise of a sensor.
    plain += [100 + 120 * down * np.ones((120, 160, 3)), 220 - 100 * down**2 * np.ones((1, 160, 3))]
    plain += [120 + random.normal(0, 8, (120, 160, 3)) for _ in range(3)]
    images = [Image.fromarray(np.clip(p, 0, 255).astype(np.uint8)) for p in plain]
    assert [likeness_of(image) for image in images] == [None] * len(images)


def test_a_copy_without_its_orientation_tag_is_found(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    scene(1).transpose(Image.Transpose.ROTATE_90).save(tmp_path / 'tag.jpg', exif=exif)
    scene(1).save(tmp_path / 'no_tag.jpg')
    tag, no_tag = probe(tmp_path / 'tag.jpg'), probe(tmp_path / 'no_tag.jpg')
    assert tag.size == no_tag.size == (320, 240)
    assert list(find_alike([tag.likeness], [no_tag.likeness])) == [(0, 0, False)]


@pytest.mark.parametrize('mode', ['1', 'P', 'LA', 'RGBA', 'CMYK', 'I;16', 'F', 'LAB', 'HSV'])
def test_an_image_of_any_kind_of_color_is_not_called_broken(mode, tmp_path):
    path = tmp_path / 'image.tif'
    image = Image.new(mode, (64, 48)) if mode in ('I;16', 'LAB', 'HSV') else scene(2).convert(mode)
    (image.convert('RGB') if mode == 'HSV' else image).save(path)
    assert probe(path).size == (64, 48) if mode in ('I;16', 'LAB', 'HSV') else (320, 240)


def export(tmp_path, images):
    """Write splits of images by name, each with a box."""
    for split, named in images.items():
        folder = tmp_path / split
        folder.mkdir()
        content = coco([box(i, image=i) for i in range(1, len(named) + 1)], len(named), ('cat',))
        for entry, (name, image) in zip(content['images'], named.items(), strict=True):
            image.save(folder / name, quality=80)
            entry.update(file_name=name, width=image.width, height=image.height)
        (folder / 'annotations.json').write_text(json.dumps(content))
    return read_export(tmp_path).problems.found


def test_each_image_that_two_splits_share_is_reported_once(tmp_path):
    found = export(
        tmp_path,
        dict(
            train={'a.jpg': scene(1), 'b.jpg': scene(2), 'c.jpg': scene(3), 'd.jpg': scene(4)},
            val={
                'same.jpg': scene(1),
                'b.jpg': scene(2).resize((160, 120)),
                'e.png': scene(3).transpose(LEFT_RIGHT),
                'd.jpg': scene(5),
            },
            test={'f.jpg': scene(6), 'g.png': ImageEnhance.Brightness(scene(5)).enhance(0.8)},
        ),
    )
    pairs = found['train and val splits']
    train, val, test = (tmp_path / split for split in ('train', 'val', 'test'))
    assert pairs[SAME_CONTENT] == [f'{train}/a.jpg = {val}/same.jpg']
    assert pairs[LOOKS_ALIKE] == [
        f'{train}/b.jpg ~ {val}/b.jpg',
        f'{train}/c.jpg ~ {val}/e.png, mirrored',
    ]
    # Of the same name, and another image.
    assert pairs[SAME_NAME] == [f'{train}/d.jpg, {val}/d.jpg']
    assert dict(found['val and test splits']) == {LOOKS_ALIKE: [f'{val}/d.jpg ~ {test}/g.png']}
    assert 'train and test splits' not in found


def test_images_of_one_camera_are_as_many_lines_as_the_second_split_has(tmp_path):
    seen = {tmp_path / f'{i}.jpg': likeness_of(saved(scene(1), 50 + i)) for i in range(30)}
    for path in seen:
        path.write_bytes(path.name.encode())
    paths = list(seen)
    problems = Problems()
    splits = dict(train={p: seen[p] for p in paths[:20]}, val={p: seen[p] for p in paths[20:]})
    check_leaks(splits, problems)
    assert len(problems.found['train and val splits'][LOOKS_ALIKE]) == 10


def test_lists_are_compared_in_blocks_to_their_ends(monkeypatch):
    monkeypatch.setattr(likeness, '_BLOCK', 25)
    seen = [likeness_of(scene(seed, (48, 36))) for seed in range(20)]
    assert list(find_alike(seen[:10], seen[7:])) == [(7, 0, False), (8, 1, False), (9, 2, False)]
    assert list(find_alike(seen[:10], seen[19:0:-1]))[0] == (9, 10, False)
    assert not list(find_alike([], seen))
    assert not list(find_alike(seen, []))
