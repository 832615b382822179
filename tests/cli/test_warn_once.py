"""Each warning of a library is shown once."""

import sys
import warnings

from mmadapt.cli import load_config
from mmadapt.cli.warn_once import show_warnings_once


def test_a_warning_is_shown_once_though_libraries_change_the_filters(monkeypatch):
    shown = []
    monkeypatch.setattr(warnings, 'showwarning', lambda message, *args: shown.append(str(message)))
    show_warnings_once()
    show, registry = warnings.showwarning, {}
    with warnings.catch_warnings():
        warnings.simplefilter('default')
        monkeypatch.setattr(warnings, 'showwarning', show)  # entering it has put Python's there
        for text in [*3 * ['this is old'], *2 * ['and that']]:
            warnings.warn_explicit(text, FutureWarning, 'library.py', 7, registry=registry)
            with warnings.catch_warnings():  # as torch.optim: Python forgets what it has shown
                warnings.simplefilter('ignore')
    assert shown == ['this is old', 'and that']


def test_a_warning_of_several_lines_of_code_is_shown_once(monkeypatch):
    shown = []
    monkeypatch.setattr(warnings, 'showwarning', lambda message, *args: shown.append(str(message)))
    show_warnings_once()
    for line in (7, 8):
        warnings.showwarning(UserWarning('this is old'), UserWarning, 'library.py', line)
    assert shown == ['this is old']


def test_reading_a_stock_config_shows_nothing_of_pkg_resources(monkeypatch):
    shown = []
    monkeypatch.setattr(warnings, 'showwarning', lambda message, *args: shown.append(str(message)))
    show_warnings_once()
    show = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter('always')
        monkeypatch.setattr(warnings, 'showwarning', show)
        sys.modules.pop('pkg_resources', None)
        load_config('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py')
        warnings.warn('another one', stacklevel=1)
    assert [text for text in shown if 'pkg_resources' in text] == []
    assert 'another one' in shown


def test_a_library_that_records_warnings_gets_all_of_them(monkeypatch):
    monkeypatch.setattr(warnings, 'showwarning', warnings._showwarning_orig)
    show_warnings_once()
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter('always')
        for _ in range(2):
            warnings.warn_explicit('this is old', FutureWarning, 'library.py', 7)
    assert len(recorded) == 2
