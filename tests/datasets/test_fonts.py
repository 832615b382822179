"""Letters that matplotlib's own font lacks: from another font, or known to be in none."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from label_folders import image
from matplotlib import font_manager
from PIL import Image

from mmadapt.datasets import fonts
from mmadapt.datasets.contact_sheet import draw_contact_sheet
from mmadapt.datasets.marks import Marks, draw_marks
from mmadapt.datasets.sheets import written_names

# In STIX, which comes with matplotlib, and not in DejaVu Sans; in neither.
OTHER, NONE = '\u210a', '\u732b'


@pytest.fixture
def stix(monkeypatch):
    """STIX is what the system has, beside a file that is no font."""
    stix = Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / 'STIXGeneral.ttf'
    monkeypatch.setattr(font_manager, 'findSystemFonts', lambda: ['/no/regular.ttf', str(stix)])
    fonts._file_for.cache_clear()
    yield stix
    fonts._file_for.cache_clear()


def test_a_font_of_the_system_writes_what_the_own_one_lacks(stix):
    assert fonts.font(12, f'a {OTHER}').path == str(stix)
    assert fonts.font(12, 'cat, Käse, пёс').getname()[0] == 'DejaVu Sans'
    assert fonts.font(12, NONE).getname()[0] == 'DejaVu Sans'
    assert [fonts.is_drawable(text) for text in ('', 'a', OTHER, NONE)] == [True, True, True, False]


def test_names_that_cannot_be_written_are_their_numbers(stix):
    assert written_names(['cat', NONE, OTHER, f'cat {NONE}']) == ['cat', '#1', OTHER, '#3']


def test_legend_and_captions_of_a_sheet_are_written_with_that_font(stix, tmp_path):
    path = image(tmp_path / 'a.png')

    def sheet(name):
        marks = Marks([0], [(1, 1, 9, 7)], texts=[name], caption=name)
        return np.asarray(draw_contact_sheet([(path, marks)], [name], [(255, 0, 0)], ''))

    drawn = {text: sheet(text) for text in (OTHER, NONE)}
    assert drawn[OTHER].shape == drawn[NONE].shape
    header, below = np.s_[44:70], np.s_[-20:]
    for part in (header, below):
        assert (drawn[OTHER][part] != drawn[NONE][part]).any()


def test_the_name_at_a_box_is_written_with_that_font(stix):
    drawn = {}
    for text in (OTHER, NONE):
        paper = Image.new('RGB', (400, 200))
        draw_marks(paper, Marks([0], [(20, 60, 80, 90)]), [text], [(255, 0, 0)], (2, 2))
        drawn[text] = paper.tobytes()
    assert drawn[OTHER] != drawn[NONE]
