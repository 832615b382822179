"""A config as text: written once, and never in the place of Ctrl-C.

MMEngine puts the text of the config into every checkpoint, and has yapf format it each time, which
takes longer than writing a small one. Whatever interrupts the formatter becomes a SyntaxError with
the whole text in it, because MMEngine catches everything there. No option sets it otherwise.
"""

import copy
import functools

from mmengine.config import Config

_LAST = 8  # a run has one text, a process that trains several runs has some


def repair_config_text() -> None:
    """Let ``Config.pretty_text`` format a text once, and pass on what interrupts it. Idempotent."""
    stock = Config.pretty_text.fget
    if hasattr(stock, '__wrapped__'):
        return
    texts: dict[str, str] = {}  # formatted, by what is to be formatted; the oldest first

    @functools.wraps(stock)
    def pretty_text(self) -> str:
        plain = copy.copy(self)
        vars(plain)['_format_python_code'] = False
        text = stock(plain)
        if not self._format_python_code:
            return text
        if text not in texts:
            try:
                formatted = stock(self)
            except SyntaxError as error:
                _raise_interrupt(error)
                raise
            while len(texts) >= _LAST:
                del texts[next(iter(texts))]
            texts[text] = formatted
        return texts[text]

    Config.pretty_text = property(pretty_text)


def _raise_interrupt(error: BaseException) -> None:
    cause = error.__context__
    while cause is not None:
        if not isinstance(cause, Exception):
            raise cause from None
        cause = cause.__context__
