"""Fixtures."""

from resident_files import files  # noqa: F401
