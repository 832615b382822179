"""Adapting whole models: the ``peft`` key, its rules for layers, heads and norms, and merging."""

from .config import PEFTConfig
from .guards import check_intact
from .inject import inject
from .merging import merge, merged_state_dict, remove, unmerge
from .report import LayerReport, Report
from .state import TuningState, get_state, require_state

__all__ = [
    'LayerReport', 'PEFTConfig', 'Report', 'TuningState', 'check_intact', 'get_state', 'inject', 'merge',
    'merged_state_dict', 'remove', 'require_state', 'unmerge'
]
