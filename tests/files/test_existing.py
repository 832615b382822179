"""No command overwrites what is there, unless it is told to or would change nothing."""

import pytest

from mmadapt import UserError
from mmadapt.files.existing import refuse_existing, would_change


def test_what_is_there_is_named_and_force_overwrites_it(tmp_path):
    first, second, new = (tmp_path / name for name in ('a.md', 'b.md', 'c.md'))
    first.write_text('a')
    second.write_text('b')
    refuse_existing(False, None, str(new))
    with pytest.raises(UserError, match=r'a\.md is there; --force overwrites it$'):
        refuse_existing(False, str(first), None, str(new))
    with pytest.raises(UserError, match=r'a\.md, .*b\.md are there; --force overwrites them'):
        refuse_existing(False, first, second)
    refuse_existing(True, first, second)


def test_a_file_that_says_the_same_is_not_overwritten(tmp_path):
    file = tmp_path / 'a.py'
    assert not would_change(file, 'ä\n')
    file.write_bytes('ä\n'.encode())
    refuse_existing(False, file, text='ä\n')
    file.write_bytes(b'\xff')  # no text at all
    with pytest.raises(UserError, match=r'a\.py is there and differs; --force'):
        refuse_existing(False, file, text='ä\n')


@pytest.mark.parametrize('force', [False, True])
def test_a_folder_is_never_overwritten(tmp_path, force):
    with pytest.raises(UserError, match='is a folder: name the file to write$'):
        refuse_existing(force, tmp_path, text='')
