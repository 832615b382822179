"""Data sets: exports read and checked, `_base_` files written, data checked at training start."""

from .checks import check_classes_match_head, check_data
from .coco_export import Export, Split, read_export
from .file_checks import check_coco_dataset_cfg, check_evaluator_cfg

__all__ = [
    'Export',
    'Split',
    'check_classes_match_head',
    'check_coco_dataset_cfg',
    'check_data',
    'check_evaluator_cfg',
    'read_export',
]
