"""Files: adapter folders, checkpoints that hold only what was trained, and the base they need."""

from .adapter_folder import check_adapter_fits, read_adapter, save_adapter
from .atomic import replace_folder, write_atomically, write_checkpoints_atomically
from .base_weights import BaseRecord, base_state_dict, make_base_record
from .fingerprint import fingerprint
from .hugging_face_export import export_hf
from .load_adapters import load_adapter
from .loader import is_adapter, is_checkpoint, refuse_adapter
from .merged import MERGED_NAMES, READ_BY, write_merged
from .reading import read_checkpoint
from .rebuild import complete, rebuild, restore
from .record import AdapterRecord
from .sharded import is_sharded, write_sharded
from .stored_tensors import (
    canonical_keys,
    complete_state_dict,
    frozen_tensors,
    lacks_only_buffers,
    stored_keys,
)
from .trained_part import KEY, TrainedPart, guard, note_contents, unguard
from .writing import check_can_write, full_disk

__all__ = [
    'KEY',
    'MERGED_NAMES',
    'READ_BY',
    'AdapterRecord',
    'BaseRecord',
    'TrainedPart',
    'base_state_dict',
    'canonical_keys',
    'check_adapter_fits',
    'check_can_write',
    'complete',
    'complete_state_dict',
    'export_hf',
    'fingerprint',
    'frozen_tensors',
    'full_disk',
    'guard',
    'is_adapter',
    'is_checkpoint',
    'is_sharded',
    'lacks_only_buffers',
    'load_adapter',
    'make_base_record',
    'note_contents',
    'read_adapter',
    'read_checkpoint',
    'rebuild',
    'refuse_adapter',
    'replace_folder',
    'restore',
    'save_adapter',
    'stored_keys',
    'unguard',
    'write_atomically',
    'write_checkpoints_atomically',
    'write_merged',
    'write_sharded',
]
