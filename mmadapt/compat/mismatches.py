"""What MMEngine prints of a checkpoint that does not fit a model in all its keys: once.

A run loads its checkpoint into the model and into the average of an EMAHook, and the same lines,
which a base for other classes has always, came twice. They are printed by a function that is told
neither which model it is nor by whom it is called, so the repetition is left out where it prints.
"""

import functools

from mmengine.runner import checkpoint

_BEGINS = 'The model and loaded state dict do not match exactly'
_said: set[str] | None = None


def say_mismatches_once() -> None:
    """Have MMEngine print no such message twice from now on, until :func:`say_mismatches_again`."""
    global _said
    _said = set()
    stock = checkpoint.print_log
    if hasattr(stock, '_once'):
        return

    @functools.wraps(stock)
    def print_log(msg, *args, **kwargs):
        if _said is not None and str(msg).startswith(_BEGINS):
            if msg in _said:
                return
            _said.add(msg)
        stock(msg, *args, **kwargs)

    vars(print_log)['_once'] = True
    checkpoint.print_log = print_log


def say_mismatches_again() -> None:
    """Have MMEngine print all of them."""
    global _said
    _said = None
