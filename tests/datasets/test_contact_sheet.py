"""Contact sheets: marks are where they are annotated, and images are what they are."""

import numpy as np
import pytest
from label_files import write_image
from PIL import Image

from mmadapt.datasets.contact_sheet import BACK, draw_contact_sheet
from mmadapt.datasets.marks import FINE, NO_CLASS, Marks, draw_marks

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
NAMES, PALETTE = ('cat', 'dog'), (RED, BLUE)


def drawn(marks, size=(200, 100)):
    """The marks on white paper, at the size of the annotations, (height, width, 3)."""
    paper = Image.new('RGB', (FINE * size[0], FINE * size[1]), WHITE)
    draw_marks(paper, marks, NAMES, PALETTE, (FINE, FINE))
    return np.asarray(paper)[::FINE, ::FINE].astype(int)


def reddish(pixels):
    return pixels[..., 0] - pixels[..., 2] > 60


def test_a_box_is_drawn_along_its_edges_in_the_color_of_its_class():
    pixels = drawn(Marks([0, 1], [(20, 30, 80, 90), (120, 10, 160, 60)], texts=['', '']))
    rows, columns = np.nonzero(reddish(pixels))
    assert (columns.min(), columns.max()) == pytest.approx((20, 80), abs=1)
    assert (rows.min(), rows.max()) == pytest.approx((30, 90), abs=1)
    assert tuple(pixels[60, 20]) == RED
    assert tuple(pixels[30, 120]) == BLUE
    assert tuple(pixels[60, 50]) == WHITE


@pytest.mark.parametrize('kind', ['polygon', 'pixels'])
def test_a_mask_covers_what_it_is_of(kind):
    mask = [[20, 20, 100, 20, 100, 80]]
    if kind == 'pixels':
        y, x = np.mgrid[:100, :200]
        mask = (x >= 20) & (x < 100) & (y >= 20) & (y - 20 < (x - 20) * 60 / 80)
    pixels = drawn(Marks([0], masks=[mask]))
    assert reddish(pixels)[40, 80]
    assert not reddish(pixels)[70, 40]
    assert reddish(pixels).sum() == pytest.approx(80 * 60 / 2, rel=0.1)
    assert (drawn(Marks([0], masks=[None])) == 255).all()


def test_a_label_map_colors_the_pixels_of_each_class_and_no_others():
    """255 has black and white stripes, and what is no class a color that is no class's."""
    label_map = np.full((100, 200), 255)
    label_map[:50, :100], label_map[50:, 100:], label_map[50:, :100] = 0, 1, 7
    pixels = drawn(Marks(label_map=label_map))
    assert reddish(pixels)[:49, :99].all()
    assert (pixels[51:, 101:, 2] - pixels[51:, 101:, 0] > 60).all()
    other = pixels[51:, :99]
    assert (np.minimum(other[..., 0], other[..., 2]) - other[..., 1] > 60).all()
    assert NO_CLASS[0] == NO_CLASS[2] > NO_CLASS[1]
    striped = pixels[:49, 101:]
    assert np.ptp(striped, axis=-1).max() == 0
    assert 0.1 < (striped == 0).mean() < 0.3
    # Along no row or column there is a plain piece longer than what lies between two stripes.
    dark = np.diff(np.nonzero(striped[10, :, 0] == 0)[0])
    assert 1 < dark.max() < 12


def test_a_label_map_lies_on_gray_so_that_its_colors_are_those_of_the_legend():
    paper = Image.new('RGB', (FINE * 20, FINE * 10), (0, 90, 200))
    gray = paper.convert('L').convert('RGB')
    for tile in (paper, gray):
        draw_marks(tile, Marks(label_map=np.zeros((10, 20), int)), NAMES, PALETTE, (FINE, FINE))
    assert paper.tobytes() == gray.tobytes()


def test_more_classes_than_8_bits_have_numbers_for_leave_255_ignored():
    label_map = np.full((10, 20), 255)
    paper = Image.new('RGB', (FINE * 20, FINE * 10), WHITE)
    draw_marks(paper, Marks(label_map=label_map), ['x'] * 300, [RED] * 300, (FINE, FINE))
    assert not reddish(np.asarray(paper).astype(int)).any()


def test_points_are_joined_where_both_are_visible():
    points = np.array([[20, 50, 2], [100, 50, 2], [180, 50, 0]])
    pixels = drawn(Marks([0], keypoints=[points], skeleton=[(0, 1), (1, 2)]))
    assert reddish(pixels)[50, 60]
    assert (pixels[40:60, 110:] == 255).all()
    # One that is hidden in the image is hollow.
    points[1, 2] = 1
    pixels = drawn(Marks([0], keypoints=[points]))
    assert reddish(pixels)[50, 20]
    assert not reddish(pixels)[50, 100]
    assert (pixels[50, 60] == 255).all()


def test_names_stand_in_no_other_box():
    """The second one is where the name of the first would be: above it, and below."""
    own, above, below = (20, 40, 60, 60), (20, 20, 60, 38), (20, 62, 60, 80)
    pixels = drawn(Marks([0, 1, 1], [own, above, below], texts=['cat', '', '']))
    for x1, y1, x2, y2 in (above, below):
        assert (pixels[y1 + 3 : y2 - 3, x1 + 4 : x2 - 4] == 255).all()
    free = drawn(Marks([0, 1], [own, below], texts=['cat', '']))
    assert reddish(free)[22:37, 22:40].mean() > 0.5


def test_names_do_not_stand_over_each_other():
    """Two boxes one in the other have their names at different places."""
    large, small = (20, 30, 180, 90), (20, 50, 30, 60)
    both = drawn(Marks([0, 1], [large, small]))
    one, other = drawn(Marks([0], [large])), drawn(Marks([1], [small]))
    blue = both[..., 2] - both[..., 0] > 60
    assert blue.sum() == pytest.approx((other[..., 2] - other[..., 0] > 60).sum(), abs=60)
    assert reddish(both).sum() == pytest.approx(reddish(one).sum(), abs=60)
    same = drawn(Marks([0, 0], [large, (large[0] + 1, *large[1:])], texts=['cat', 'cat']))
    assert reddish(same).sum() > reddish(one).sum() + 150


def test_a_name_that_has_no_place_is_left_out():
    pixels = drawn(Marks([0], [(2, 40, 18, 60)]), (20, 100))
    assert (pixels[:37] == 255).all()
    assert (pixels[63:] == 255).all()


def sheet_of(tmp_path, sizes, **options):
    images = []
    for number, size in enumerate(sizes):
        path = tmp_path / f'{number}.png'
        Image.new('RGB', size, (0, 200, 0)).save(path)
        images.append((path, Marks(**options)))
    sheet = draw_contact_sheet(images, NAMES, PALETTE, 'title', width=640, row_height=100)
    return sheet, np.asarray(sheet).astype(int)


def areas(pixels):
    """Sizes of the green rectangles, row by row."""
    from scipy import ndimage

    green = (pixels[..., 1] > 150) & (pixels[..., 0] < 60)
    labeled, _ = ndimage.label(green)
    return [(s[1].stop - s[1].start, s[0].stop - s[0].start) for s in ndimage.find_objects(labeled)]


def test_images_keep_their_proportions_and_fill_their_rows(tmp_path):
    sizes = [(200, 100), (100, 200), (150, 100), (100, 100), (300, 100), (120, 90), (1000, 40)]
    sheet, pixels = sheet_of(tmp_path, sizes)
    assert sheet.width == 640
    found = areas(pixels)
    assert len(found) == len(sizes)
    left = [w / h for w, h in found]
    for ratio in (w / h for w, h in sizes):
        near = min(left, key=lambda each: abs(each / ratio - 1))
        assert near == pytest.approx(ratio, rel=0.1)
        left.remove(near)
    assert tuple(pixels[-1, -1]) == BACK


def test_one_image_is_no_larger_than_a_row(tmp_path):
    _, pixels = sheet_of(tmp_path, [(50, 50)])
    assert areas(pixels) == [(100, 100)]


def test_marks_are_scaled_with_the_image_and_a_turned_one_is_turned(tmp_path):
    tag = Image.Exif()
    tag[0x0112] = 6
    path = tmp_path / 'turned.jpg'
    image = Image.new('RGB', (400, 200), (0, 200, 0))  # seen as 200 x 400
    image.paste((0, 0, 200), (0, 0, 200, 200))  # seen as the upper half
    image.save(path, exif=tag)
    marks = Marks([0], [(0, 200, 200, 400)], texts=[''])
    sheet = draw_contact_sheet([(path, marks)], NAMES, PALETTE, '', width=640, row_height=200)
    rows, columns = np.nonzero(reddish(np.asarray(sheet).astype(int))[76:])  # below the legend
    tile = np.asarray(sheet)[76:276, 8:108].astype(int)
    assert (tile[5:95, 5:95, 2] > 150).all()
    assert (tile[110:190, 5:95, 1] > 150).all()
    # The lower half of a tile of 100 x 200.
    assert np.ptp(rows) == pytest.approx(100, abs=4)
    assert np.ptp(columns) == pytest.approx(100, abs=4)


def test_an_image_that_cannot_be_read_has_a_place_that_says_so(tmp_path):
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(b'no image')
    cut = tmp_path / 'cut.jpg'
    write_image(cut, (300, 200), quality=95)
    cut.write_bytes(cut.read_bytes()[:900])
    whole = write_image(tmp_path / 'whole.jpg')
    marks = Marks(label_map=np.zeros((200, 300), int))
    sheets = [
        draw_contact_sheet([(path, each) for path in (broken, cut)], NAMES, PALETTE, 'title')
        for each in (Marks(), marks)
    ]
    assert sheets[0].tobytes() == sheets[1].tobytes()
    images = [(path, Marks()) for path in (broken, cut, whole)]
    assert draw_contact_sheet(images, NAMES, PALETTE, 'title').width == 1920


def test_an_image_of_16_bits_is_drawn_as_opencv_reads_it(tmp_path):
    gray = np.linspace(0, 255, 200 * 100).reshape(100, 200).astype(np.uint16)
    sheets = []
    for name, array in (('low', gray.astype(np.uint8)), ('high', gray * 256 + 9)):
        Image.fromarray(array).save(tmp_path / f'{name}.png')
        images = [(tmp_path / f'{name}.png', Marks())]
        sheets.append(draw_contact_sheet(images, NAMES, PALETTE, ''))
    assert sheets[0].tobytes() == sheets[1].tobytes()


def test_each_line_of_a_caption_stands_below_the_image(tmp_path):
    none, _ = sheet_of(tmp_path, [(200, 100)])
    one, pixels = sheet_of(tmp_path, [(200, 100)], caption='file')
    two, more = sheet_of(tmp_path, [(200, 100)], caption='class\nfile')
    assert none.height < one.height < two.height
    # The last line is the dimmer one.
    below = more[none.height - 8 :].max(axis=(1, 2))
    assert below[:20].max() > 200 > below[20:].max() > 100
    assert pixels[none.height - 8 :].max() < 200


def test_the_legend_has_what_is_no_class_too_and_leaves_out_names_that_are_empty(tmp_path):
    path = write_image(tmp_path / 'a.png')

    def legend(names, others=()):
        palette = [RED, BLUE][: len(names)]
        sheet = draw_contact_sheet([(path, Marks())], names, palette, '', others=others)
        return np.asarray(sheet)[44:70, 8:].astype(int)

    only = legend(['cat'])
    assert reddish(only)[4:14, 2:16].all()
    np.testing.assert_array_equal(only, legend(['cat', '']))
    assert (legend(['cat'], [('x', (0, 200, 0))]) == (0, 200, 0)).all(axis=-1).sum() > 200
    swatch = legend([], [('ignored', None)])[3:15, 2:16]
    assert np.ptp(swatch, axis=-1).max() < 12
    assert swatch.min() < 60
    assert swatch.max() > 200


def test_many_classes_make_a_higher_legend(tmp_path):
    path = write_image(tmp_path / 'a.png')
    few = draw_contact_sheet([(path, Marks())], NAMES, PALETTE, 'title')
    names = [f'a class of the number {i}' for i in range(80)]
    many = draw_contact_sheet([(path, Marks())], names, [RED] * 80, 'title')
    assert many.height > few.height + 100
