"""What follows ``--cfg-options``, from words to values."""

import argparse
import re

from mmengine.config import DictAction as StockAction

from ..preflight.options import is_dict

_SPACE = '\0'  # no argument of a process has this character


class DictAction(StockAction):
    """MMEngine's, which ends in an error of its own where a word is not what it expects.

    A dict that is written out stays the text that it is, for
    :func:`~mmadapt.preflight.options.check_options` to say how it is written instead.
    """

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Add the values to those that are there."""
        for word in values or ():
            if '=' not in word:
                raise argparse.ArgumentError(self, f'{word!r} is not NAME=VALUE')
            try:
                super().__call__(parser, namespace, [word], option_string)
            except (AssertionError, RecursionError):
                raise argparse.ArgumentError(
                    self,
                    f'{word!r}: its brackets are not those of a list such as "[a,b]" or '
                    '"[(a,b),(c,d)]"; write it in the config',
                ) from None

    @staticmethod
    def _parse_iterable(val: str):
        text = val.strip('\'"').replace(' ', '')
        if is_dict(text):
            return text
        if text[:1] in ('[', '(') and is_dict(text[1:]):
            return [text[1:-1]]
        # MMEngine drops every space, those of a folder's or a class's name too.
        inner = re.sub(r'(?<=[,\[(]) +| +(?=[,\])])', '', val.strip()).replace(' ', _SPACE)
        return _with_spaces(StockAction._parse_iterable(inner))


def _with_spaces(value):
    if isinstance(value, (list, tuple)):
        return type(value)(map(_with_spaces, value))
    return value.replace(_SPACE, ' ') if isinstance(value, str) else value
