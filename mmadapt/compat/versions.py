"""Versions."""


def check_environment():
    """Check."""
