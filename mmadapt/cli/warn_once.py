"""Warnings of libraries, each once a process.

Python shows a warning once a place, but forgets what it has shown whenever a library changes its
filters, as torch does in every step of some optimisers; the important line is then one of fifty.
"""

import warnings


def show_warnings_once() -> None:
    """Show each warning of this process once, whatever becomes of Python's own memory of them."""
    show, shown = warnings.showwarning, set()

    def show_once(message, category, filename, lineno, file=None, line=None):
        warning = (category, str(message), filename, lineno)
        if warning not in shown:
            shown.add(warning)
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = show_once
