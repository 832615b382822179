"""Adapting whole models: the ``peft`` key, its rules for layers, heads and norms, and merging."""

from .changes import Snapshot
from .class_counts import CLASS_COUNTS, fit_class_counts
from .config import PEFTConfig
from .guards import check_intact
from .inject import DEFAULT_NAME, inject, remember
from .merging import merge, merged_state_dict, unmerge
from .named import (
    active_adapter,
    adapter_names,
    check_name,
    check_not_merged,
    remove,
    set_adapter,
)
from .quantized_base import quantize_base
from .report import LayerReport, Report
from .state import TuningState, drop_state, get_state, require_state

__all__ = [
    'CLASS_COUNTS',
    'DEFAULT_NAME',
    'LayerReport',
    'PEFTConfig',
    'Report',
    'Snapshot',
    'TuningState',
    'active_adapter',
    'adapter_names',
    'check_intact',
    'check_name',
    'check_not_merged',
    'drop_state',
    'fit_class_counts',
    'get_state',
    'inject',
    'merge',
    'merged_state_dict',
    'quantize_base',
    'remember',
    'remove',
    'require_state',
    'set_adapter',
    'unmerge',
]
