"""A base and any number of its adapters on one resident model, and what they see in images."""

from .inferencer import ImageResult, Inferencer
from .instances import Instance

__all__ = ['ImageResult', 'Inferencer', 'Instance']
