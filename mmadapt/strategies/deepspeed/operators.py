"""DeepSpeed itself, its operators and the processes it works with."""

import contextlib
import importlib.util
import io
import logging
import os
import shutil
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.dist import barrier
from mmengine.logging import print_log
from mmengine.utils import digit_version

from ...errors import UserError

_LOWEST = '0.19.0'
# The operators of optimizers that are DeepSpeed's own, by the class of the optimizer.
_BUILDERS = dict(DeepSpeedCPUAdam='CPUAdamBuilder', FusedAdam='FusedAdamBuilder')
_OTHER_OPTIMIZER = "write optim_wrapper.optimizer.type='AdamW', which needs no compiling"
_SHARED_MEMORY = 'ShareMemCommBuilder'


def require_deepspeed() -> None:
    """Check that DeepSpeed is installed and is one that this package knows.

    Raises:
        UserError: It is not.
    """
    if importlib.util.find_spec('deepspeed') is None:
        raise UserError('DeepSpeedStrategy: deepspeed is not installed: mmadapt install deepspeed')
    import deepspeed

    if digit_version(deepspeed.__version__) < digit_version(_LOWEST):
        raise UserError(
            f'DeepSpeedStrategy needs deepspeed {_LOWEST} or newer, '
            f'{deepspeed.__version__} is installed; pip install -U deepspeed'
        )


def register_optimizers() -> None:
    """Make DeepSpeed's optimizers known by their names. MMEngine's way of it fails since 0.19."""
    from deepspeed.ops import adam
    from mmengine.registry import OPTIMIZERS

    for name in _BUILDERS:
        OPTIMIZERS.register_module(name=name, module=getattr(adam, name), force=True)


def start(optimizer: str) -> None:
    """Let DeepSpeed know the processes, and compile what has not been compiled yet.

    Args:
        optimizer (str): The class of the optimizer.

    Raises:
        UserError: Something is to be compiled, and there is nothing to do it with.
    """
    from deepspeed.accelerator import get_accelerator

    builders = [_BUILDERS[optimizer]] if optimizer in _BUILDERS else []
    if get_accelerator().device_name() == 'cpu':
        builders.append(_SHARED_MEMORY)
    if os.environ['LOCAL_RANK'] == '0':
        for name in builders:
            _compile(name)
    barrier()  # what one process compiles the others only load
    import deepspeed

    with contextlib.redirect_stdout(io.StringIO()):  # it prints, once a process
        deepspeed.init_distributed(dist.get_backend(), verbose=False)


def _compile(name: str) -> None:
    from deepspeed.accelerator import get_accelerator
    from deepspeed.git_version_info import installed_ops
    from deepspeed.ops.op_builder import builder as builders

    builder = get_accelerator().create_op_builder(name)
    if builder is None or not builder.is_compatible():
        if name == _SHARED_MEMORY:
            return  # without it the processes use gloo
        raise UserError(
            f"DeepSpeed's operator {name} does not exist for this "
            f'{get_accelerator().device_name()}; {_OTHER_OPTIMIZER}'
        )
    if installed_ops.get(builder.name):
        return
    name = builder.name
    from torch.utils import cpp_extension  # looks for CUDA when it is imported

    folder = Path(cpp_extension._get_build_directory(name, verbose=False))
    if not (folder / f'{name}.so').is_file():
        _require_compiler(name)
        print_log(
            f"compiling DeepSpeed's operator {name}, about a minute, once (into {folder})",
            'current',
        )
    if (folder / 'lock').exists():
        print_log(
            f'waiting for another process that compiles in {folder}; if none does, because '
            'one was killed, remove that folder',
            'current',
            logging.WARNING,
        )
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.load(verbose=False)
    except (builders.MissingCUDAException, builders.CUDAMismatchException) as error:
        raise UserError(
            f"DeepSpeed's operator {name} is compiled with nvcc of CUDA "
            f'{torch.version.cuda}, that of torch: {str(error).splitlines()[0]}; '
            f'install it and set CUDA_HOME, or {_OTHER_OPTIMIZER}'
        ) from error
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"DeepSpeed's operator {name} could not be compiled: "
            f'{str(error).strip().splitlines()[-1]}; remove {folder} and try again, or '
            'train with mmadapt.FSDP2Strategy'
        ) from error


def _require_compiler(name: str) -> None:
    compiler = os.environ.get('CXX', 'c++')
    if shutil.which(compiler) is None:
        raise UserError(
            f'DeepSpeed compiles its operator {name} at the first use, and there is no '
            f'C++ compiler {compiler}; install one (apt install g++), or train with '
            'mmadapt.FSDP2Strategy'
        )
    if shutil.which('ninja') is None and importlib.util.find_spec('ninja') is not None:
        import ninja  # deepspeed requires it, into a folder that need not be on the path

        os.environ['PATH'] += os.pathsep + ninja.BIN_DIR
    from torch.utils import cpp_extension  # looks for CUDA when it is imported

    if not cpp_extension.is_ninja_available():
        raise UserError(
            f'DeepSpeed compiles its operator {name} at the first use, which needs '
            'ninja; pip install ninja'
        )
