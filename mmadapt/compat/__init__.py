"""What ``import mmadapt`` changes in a process, beside what it registers under names of its own.

Nothing here touches anybody's files, and nothing changes for a config that does not use mmadapt,
but that it runs where it would have ended in an error of the stack underneath.
"""

from collections.abc import Callable
from typing import NamedTuple

from .checkpoint_globals import allow_checkpoint_globals
from .config_text import repair_config_text
from .cpu import repair_cpu
from .fairscale import provide_checkpoint_wrapper
from .inference import complete_for_inference
from .run_configs import check_run_configs
from .versions import check_environment

__all__ = ['CHANGES', 'Change', 'check_environment', 'repair']


class Change(NamedTuple):
    """A change of something that belongs to another package.

    Args:
        where (tuple[str, ...]): What is another one afterwards, by its full names.
        versions (str): Those of the package that it is for.
        reason (str): What it is for.
        make (Callable[[], None]): Makes it; a second time does nothing.
    """

    where: tuple[str, ...]
    versions: str
    reason: str
    make: Callable[[], None]


def _guard_checkpoints() -> None:
    from ..files.loader import register

    register()


def _replace_flexible_runner() -> None:
    from .. import runner  # noqa: F401  registers it


CHANGES = (
    Change(
        ('torch._weights_only_unpickler._marked_safe_globals_set',),
        'torch >= 2.6',
        "torch.load refuses the numbers in MMEngine's own checkpoints: exactly their classes, "
        'which run no code, are allowed',
        allow_checkpoint_globals,
    ),
    Change(
        ('mmengine.config.config.Config.pretty_text',),
        'mmengine 0.10',
        'the text of a config is formatted once, not at each checkpoint, and Ctrl-C in there '
        'stays Ctrl-C',
        repair_config_text,
    ),
    Change(
        (
            'mmengine.dist.utils._init_dist_pytorch',
            'mmengine.dist.utils._init_dist_mpi',
            'mmengine.dist.utils._init_dist_slurm',
            'mmengine.model.wrappers.distributed.MMDistributedDataParallel.__init__',
            'mmengine.optim.optimizer.amp_optimizer_wrapper.AmpOptimWrapper.__init__',
        ),
        'mmengine 0.10',
        'several processes, and mixed precision, run on machines without an '
        'accelerator too; where there is one they are as before',
        repair_cpu,
    ),
    Change(
        ('sys.meta_path',),
        'mmdet 3',
        "num_cp of MMDetection's transformers works without fairscale",
        provide_checkpoint_wrapper,
    ),
    Change(
        ('mmengine.runner.runner.Runner.from_cfg',),
        'mmengine 0.10',
        'a config whose `peft` or `memory` nothing would read is refused',
        check_run_configs,
    ),
    Change(
        ('mmengine.runner.checkpoint._load_checkpoint_to_model',),
        'mmengine 0.10',
        'init_detector and DetInferencer complete a checkpoint of a training with `peft` from '
        'its base',
        complete_for_inference,
    ),
    Change(
        ('mmengine.runner.checkpoint.CheckpointLoader._schemes',),
        'mmengine 0.10',
        'checkpoints may be safetensors files and sharded folders, none may run code, from an '
        'address either; one that holds only what was trained is refused where its base would '
        'be random',
        _guard_checkpoints,
    ),
    Change(
        ('mmengine.registry.root.RUNNERS._module_dict',),
        'mmengine 0.10',
        "runner_type='FlexibleRunner' adapts and loads a model before it is wrapped",
        _replace_flexible_runner,
    ),
)


def repair() -> None:
    """Make all changes; a second time does nothing."""
    for change in CHANGES:
        change.make()
