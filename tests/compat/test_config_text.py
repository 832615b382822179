"""The text of a config, which stands in every checkpoint."""

import pytest
from mmengine.config import Config
from mmengine.config import config as module
from yapf.yapflib.yapf_api import FormatCode

from mmadapt.compat.config_text import repair_config_text

STOCK = Config.pretty_text.fget.__wrapped__


@pytest.fixture(autouse=True)
def laid_out(monkeypatch):
    """Lay configs out, as other tests do not."""
    monkeypatch.setattr(module, 'FormatCode', FormatCode)


def config(**changes):
    return Config(
        dict(model=dict(type='A', layers=[dict(n=1), dict(n=(1, 'two'))]), rate=1e-3, **changes)
    )


@pytest.fixture
def formatted(monkeypatch):
    """What the formatter is asked to format."""
    texts = []

    def note(text, **kwargs):
        texts.append(text)
        return format_code(text, **kwargs)

    format_code = module.FormatCode
    monkeypatch.setattr(module, 'FormatCode', note)
    return texts


def test_it_is_that_of_mmengine_and_is_formatted_once(formatted):
    first, other = config(first=1), config(first=2)
    for _ in range(3):
        assert first.pretty_text == STOCK(config(first=1))
    assert other.pretty_text == STOCK(config(first=2))
    assert len(formatted) == 4 + 2, 'once for each config, and once for each expectation'
    first.rate = 5
    assert first.pretty_text == STOCK(first)
    plain = Config(dict(a=dict(b=1)), format_python_code=False)
    assert plain.pretty_text == STOCK(plain) == 'a=dict(\n    b=1)'


@pytest.mark.parametrize('interrupt', [KeyboardInterrupt, SystemExit])
def test_what_interrupts_the_formatter_is_not_turned_into_an_error_of_the_config(
    interrupt, monkeypatch
):
    def inside(text, **kwargs):
        try:
            raise interrupt('by hand')
        finally:
            raise ValueError  # as a parser that is left half-way

    monkeypatch.setattr(module, 'FormatCode', inside)
    with pytest.raises(interrupt, match='by hand'):
        config(new=interrupt.__name__).pretty_text  # noqa: B018


def test_a_text_that_is_no_python_is_still_refused():
    with pytest.raises(SyntaxError, match='Failed to format'):
        Config({'a': {'not': 'what', '1 2': object()}}).pretty_text  # noqa: B018


def test_repairing_twice_wraps_nothing_twice():
    before = Config.pretty_text
    repair_config_text()
    assert Config.pretty_text is before
