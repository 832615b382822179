"""What a config's ``type`` is called: a name, one with its scope, or the class itself."""


def type_name(kind: str | type | None) -> str:
    """Return the name of the class that a ``type`` means, without its scope; '' for None."""
    return '' if kind is None else getattr(kind, '__name__', str(kind)).rpartition('.')[2]
