"""Warnings of libraries, each once a process.

Python shows a warning once a place, but forgets what it has shown whenever a library changes its
filters, as torch does in every step of some optimizers; the important line is then one of fifty.
"""

import warnings

# MMEngine asks for a distribution by it, whenever it reads a stock config: nothing for the user.
_NOT_SHOWN = ('pkg_resources is deprecated as an API',)


def show_warnings_once() -> None:
    """Show each warning of this process once, whatever becomes of Python's own memory of them.

    Also where several lines of code give it. One that only the authors of a library can act upon is
    not shown at all.
    """
    show, shown = warnings.showwarning, set()

    def show_once(message, category, filename, lineno, file=None, line=None):
        warning = (category, str(message))
        if warning not in shown and not warning[1].startswith(_NOT_SHOWN):
            shown.add(warning)
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = show_once
