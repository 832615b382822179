"""No two images or videos, and no two files about them, are called alike."""

import os

import pytest
from PIL import Image

from mmadapt.inference.names import told_apart
from mmadapt.inference.sources import Frame, Video, _name_apart, find_images


def test_each_has_its_best_name_that_no_other_has():
    assert told_apart([('a', 'x/a'), ('b', 'x/b')]) == ['a', 'b']
    assert told_apart([('a', 'x/a'), ('a', 'y/a'), ('b', 'x/b')]) == ['x/a', 'y/a', 'b']
    # What one gives way to may be in a third one's way.
    assert told_apart([('a', 'b', '1'), ('a', 'c', '2'), ('b', 'd', '3')]) == ['1', 'c', 'd']
    assert told_apart([]) == []


@pytest.mark.parametrize(
    ('paths', 'stems'),
    [
        (['a.jpg', 'b.png'], ['a', 'b']),
        (['a.jpg', 'a.png'], ['a.jpg', 'a.png']),
        (['x/a.jpg', 'y/a.jpg'], ['x/a', 'y/a']),
        (['../x/a.jpg', 'x/a.jpg'], None),
        (['a.jpg', 'a.png', 'a.jpg.png'], None),
        (['a.b.jpg', 'a.c.jpg'], ['a.b', 'a.c']),
        (['a.tif', 'a.png', 'a.tif.jpg'], ['a.tif', 'a.png', 'a.tif.jpg']),
        (['a.tif', 'a.png', 'a.tif.jpg', 'a.tif.jpg.jpg', 'a.tif.bmp'], None),
    ],
)
def test_files_about_images_are_told_apart(paths, stems):
    frames = [Frame(os.path.basename(path), path) for path in paths]
    _name_apart(frames, [])
    for names in ('name', 'stem', 'drawing'):
        assert len({getattr(frame, names) for frame in frames}) == len(paths), names
    if stems is not None:
        assert [frame.stem for frame in frames] == stems


def test_drawings_are_called_as_their_images_where_they_can_be():
    frames = [Frame(path, path) for path in ('a.tif', 'a.png', 'a.tif.jpg', 'b.JPG', 'c.webp', '7')]
    wanted = ['a.jpg', 'a.png', 'a.tif.jpg', 'b.JPG', 'c.jpg', '7.jpg']
    assert [frame.drawing for frame in frames] == wanted
    _name_apart(frames, [])
    wanted = ['a.tif.jpg', 'a.png', 'a.tif.jpg.jpg', 'b.JPG', 'c.jpg', '7.jpg']
    assert [frame.drawing for frame in frames] == wanted


def test_the_frames_of_a_video_are_not_the_images_of_a_folder():
    frame = Frame('clip/000000.png', 'all/clip/000000.png')
    videos = [Video(path, 2, 25.0) for path in ('clip.mp4', 'clip.avi', 'x/clip.mp4')]
    _name_apart([frame], videos)
    assert (frame.name, frame.stem) == ('clip/000000.png', 'clip/000000')
    names = [video.name for video in videos]
    assert names[1] == 'clip.avi'
    assert len({*names}) == 3
    alone = Video('clip.mp4', 2, 25.0)
    _name_apart([frame], [alone])
    assert alone.name == 'clip.mp4'
    _name_apart([], [alone := Video('clip.mp4', 2, 25.0)])
    assert alone.name == 'clip'


def test_links_to_one_file_are_images_of_their_own(tmp_path, monkeypatch):
    """As DVC and git-annex store equal images; one that is named twice is looked at once."""
    monkeypatch.chdir(tmp_path)
    Image.new('RGB', (8, 8)).save('stored.png')
    os.mkdir('linked')
    for name in ('a.png', 'b.png'):
        os.symlink('../stored.png', f'linked/{name}')
    frames, _ = find_images(['linked', 'linked/a.png', 'linked/../linked/b.png'])
    assert [frame.name for frame in frames] == ['a.png', 'b.png']
    frames, _ = find_images(['linked/a.png', 'stored.png', str(tmp_path / 'stored.png')])
    assert [frame.name for frame in frames] == ['a.png', 'stored.png']
