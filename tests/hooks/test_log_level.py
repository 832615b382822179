"""What warns is logged as a warning: no ``log_level`` of a config hides it."""

import logging

import pytest
from mmengine.logging import MMLogger
from stock_runs import CLASSES, LORA

from mmadapt import inject
from mmadapt.hooks import adapting
from mmadapt.logs import say, warn


@pytest.fixture
def written(tmp_path):
    """Return what a logger of level WARNING writes down."""

    def read():
        return next(tmp_path.rglob('*.log')).read_text()

    return read


@pytest.mark.parametrize('speak', [say, warn])
def test_a_line_that_says_warning_is_logged_as_one_and_says_it_once(tmp_path, written, speak):
    MMLogger.get_instance(
        'levels', logger_name='mmengine', log_level='WARNING', log_file=str(tmp_path / 'levels.log')
    )
    try:
        speak('WARNING: something')
        say('nothing')
    finally:
        MMLogger._instance_dict.pop('levels')
        logging.getLogger('mmengine').handlers.clear()
    assert written().count('WARNING') == 1
    assert 'something' in written()
    assert 'nothing' not in written()


def test_a_random_base_and_what_an_injection_warns_of_are_in_a_log_of_warnings(
    start, written, monkeypatch
):
    def warns(*args, **kwargs):
        report = inject(*args, **kwargs)
        report.warnings += ['WARNING: a line of the report', 'a note of it']
        return report

    monkeypatch.setattr(adapting, 'inject', warns)
    start({**LORA, 'allow_random_base': True}, base=None, log_level='WARNING')
    lines = [line for line in written().splitlines() if 'WARNING' in line]
    assert any('the frozen base is random' in line for line in lines)
    assert any('a line of the report' in line for line in lines)
    assert 'a note of it' not in written()


def test_that_nothing_adapted_is_evaluated_is_in_a_log_of_warnings(start, bases, written):
    start(mode='test', base=bases('rtmdet', len(CLASSES)), log_level='WARNING')
    assert 'holds no adapter and peft.adapter is not set: a plain model' in written()
