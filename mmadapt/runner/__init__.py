"""The runner that trains with a strategy."""

from .flexible_runner import FlexibleRunner, prepares_runs

__all__ = ['FlexibleRunner', 'prepares_runs']
