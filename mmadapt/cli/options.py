"""What follows ``--cfg-options``, from words to values."""

import argparse

from mmengine.config import DictAction as StockAction

from ..preflight.options import is_dict


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
        return StockAction._parse_iterable(val)
