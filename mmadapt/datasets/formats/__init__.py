"""Data sets in formats that MMDetection does not read: recognized, and written as COCO files."""

from .convert import Converted, convert

__all__ = ['Converted', 'convert']
