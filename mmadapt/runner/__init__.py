"""The runner that trains with a strategy."""

from .flexible_runner import FlexibleRunner

__all__ = ['FlexibleRunner']
