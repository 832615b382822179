"""Files: adapter folders, checkpoints that hold only what was trained, and the base they need."""

from .adapter_folder import check_adapter_fits, read_adapter, save_adapter
from .atomic import replace_folder, write_atomically, write_checkpoints_atomically
from .base import BaseRecord, base_state_dict, make_base_record, read_checkpoint
from .contents import canonical_keys, complete_state_dict, frozen_tensors, stored_keys
from .fingerprint import fingerprint
from .hugging_face_export import export_hf
from .load import load_adapter
from .merged import MERGED_NAMES, READ_BY, write_merged
from .rebuild import rebuild, restore
from .record import AdapterRecord
from .sharded import is_sharded, write_sharded
from .writing import check_can_write, full_disk

__all__ = [
    'AdapterRecord', 'BaseRecord', 'MERGED_NAMES', 'READ_BY', 'base_state_dict', 'canonical_keys',
    'check_adapter_fits', 'check_can_write', 'complete_state_dict', 'export_hf', 'fingerprint',
    'frozen_tensors', 'full_disk', 'is_sharded', 'load_adapter', 'make_base_record', 'read_adapter',
    'read_checkpoint', 'rebuild', 'replace_folder', 'restore', 'save_adapter', 'stored_keys',
    'write_atomically', 'write_checkpoints_atomically', 'write_merged', 'write_sharded'
]
