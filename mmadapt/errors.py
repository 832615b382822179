"""Errors that a user can mend."""


class UserError(Exception):
    """Something in a config, a file or an installation is wrong and the user can mend it.

    The message is one line (or a short list) that says what is wrong, where, and what to write
    instead. The tools print it without a traceback; in Python code it is an ordinary exception.
    """


class WriteError(UserError):
    """A file or folder cannot be written; what was there before is whole."""
