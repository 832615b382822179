"""Fully sharded data parallel training."""

import time
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import mmengine
from mmengine.device import get_device
from mmengine.dist import get_rank, get_world_size, is_main_process
from mmengine.model import BaseDataPreprocessor, revert_sync_batchnorm
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.runner import save_checkpoint
from mmengine.utils import get_git_hash
from torch import Tensor, nn

from ...files import write_sharded
from ...runs import averaging_hooks, optim_wrappers, unwrap
from ..asked_run import AskedRun
from ..ddp import DDPStrategy
from ..processes import backend_for
from ..registry import STRATEGIES
from .average import shard_average
from .mesh import make_mesh
from .meta import draw_as_first, without_values
from .options import check_groups, check_values, refuse_unknown
from .refusals import check_flat_decay, check_run
from .scalars import trained_scalars
from .shard import Calls, Sharding, gathered
from .state import gather, model_state, serve_whole_state
from .units import find_units


@MMENGINE_STRATEGIES.register_module()
@STRATEGIES.register_module()
class FSDP2Strategy(DDPStrategy):
    """Training with weights, gradients and optimizer state sharded among the processes.

    The model is built, adapted and loaded as under DDP, and computes what it computes there; a
    checkpoint is that of DDP, and a run may go on with the one or the other, on any number of
    processes. Parameters are float32: for mixed precision choose an optimizer wrapper that uses
    autocast.

    Args:
        shard (list[str], optional): The blocks whose weights are gathered when they compute and
            freed after it, by class name, by name, or by a regular expression of full names
            (:func:`~mmadapt.memory.matching.find_modules`). What is in none of them stays gathered
            from the first forward to the end of backward. Defaults to the blocks that the model
            is a repetition of (:func:`~mmadapt.strategies.fsdp2.units.repeated_blocks`).
        replicate (int): Into how many groups the processes are divided, each of which has a whole
            copy of the model (HSDP); the number of nodes, for instance. Defaults to 1.
        reshard_after_forward (bool or int): Whether a block's weights are freed between forward and
            backward. False costs memory and saves time; a number keeps them together in groups
            of so many processes. Defaults to True.
        prefetch (int): How many blocks are gathered ahead of the one that computes, beyond what
            torch does of itself. Defaults to 0.
        cpu_offload (bool): Whether parts of weights, gradients and optimizer state wait in the
            memory of the CPU, where the optimizer then steps. Defaults to False.
        meta_init (bool): Whether, in training, the first process alone builds and loads weights and
            hands them out block by block. Defaults to False.
        sharded_checkpoints (bool): Whether checkpoints are folders to which every process writes
            its part, on a file system that all of them see, instead of files that the first one
            writes. Defaults to False.
        sync_bn (str, optional): ``'torch'`` or ``'mmcv'``: which synchronized BatchNorm to use.
        env_kwargs (dict, optional): How processes start; this and the next four are the runner's.
        log_kwargs (dict, optional): For the logger.
        auto_scale_lr (dict, optional): Whether to scale the rate with the batch.
        work_dir (str): Where logs go. Defaults to ``'work_dirs'``.
        experiment_name (str, optional): The name of the run.

    Raises:
        UserError: An argument is unknown or has a wrong value.
    """

    sharded = True

    def __init__(
        self,
        *,
        shard: list[str] | None = None,
        replicate: int = 1,
        reshard_after_forward: bool | int = True,
        prefetch: int = 0,
        cpu_offload: bool = False,
        meta_init: bool = False,
        sharded_checkpoints: bool = False,
        sync_bn: str | None = None,
        env_kwargs: dict | None = None,
        log_kwargs: dict | None = None,
        auto_scale_lr: dict | None = None,
        work_dir: str = 'work_dirs',
        experiment_name: str | None = None,
        **unknown,
    ) -> None:
        own = dict(
            shard=shard,
            replicate=replicate,
            reshard_after_forward=reshard_after_forward,
            prefetch=prefetch,
            cpu_offload=cpu_offload,
            meta_init=meta_init,
            sharded_checkpoints=sharded_checkpoints,
        )
        refuse_unknown(unknown, own)
        check_values(own)
        self._shard, self._replicate = shard, replicate
        self._reshard_after_forward, self._prefetch = reshard_after_forward, prefetch
        self._offload, self._writes_folders = cpu_offload, sharded_checkpoints
        self.first_has_weights = meta_init
        self._scalars: list[str] = []
        super().__init__(
            sync_bn=sync_bn,
            env_kwargs=env_kwargs,
            log_kwargs=log_kwargs,
            auto_scale_lr=auto_scale_lr,
            work_dir=work_dir,
            experiment_name=experiment_name,
        )
        check_groups(own, get_world_size())
        self._mesh = make_mesh(replicate)

    def _setup_distributed(
        self, launcher: str = 'pytorch', backend: str = 'nccl', **kwargs
    ) -> None:
        super()._setup_distributed(launcher, backend_for(backend, self._offload), **kwargs)

    # From a config to a sharded model.

    def refuse(self, run: AskedRun) -> None:
        """Refuse a run that cannot be done with a sharded model.

        Args:
            run (AskedRun): The run.

        Raises:
            UserError: It is one.
        """
        options = dict(meta_init=self.first_has_weights, sharded_checkpoints=self._writes_folders)
        check_run(run, options)

    def make_ready(self, optim_wrapper):
        """Let the first process alone have the weights in a training only."""
        self.first_has_weights &= optim_wrapper is not None
        return optim_wrapper

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Build the model; without weights, where another process has them."""
        if not self._has_no_weights:
            return super().build_model(model)
        # Whatever loads weights does so everywhere, and torch says once a tensor that this is vain.
        warnings.filterwarnings('ignore', message='for .*: copying from a non-meta parameter')
        with without_values():
            return super().build_model(model)

    def _init_model_weights(self, model: nn.Module) -> nn.Module:
        if not self.first_has_weights:
            return super()._init_model_weights(model)
        if (
            not self._has_no_weights
            and hasattr(model, 'init_weights')
            and self.dispatch_kwargs.get('init_weights_for_test_or_val', True)
        ):
            initialized: Any = model
            initialized.init_weights()
        return model

    @property
    def _has_no_weights(self) -> bool:
        return self.first_has_weights and get_rank() > 0

    def place(self, model: nn.Module) -> nn.Module:
        """Convert the norms as asked for. The model stays on the CPU until it is sharded."""
        called = unwrap(model)
        self._units = find_units(called, self._shard)
        self._kinds = Counter(type(called.get_submodule(name)).__name__ for name in self._units)
        model = self.convert_model(model)
        if get_device() == 'cpu':
            model = revert_sync_batchnorm(model)  # a synchronized norm does not run there
        for module in model.modules():
            if isinstance(module, BaseDataPreprocessor):
                module.to(get_device())  # it moves the data to where it was moved to itself
        return model

    def load_weights(self, state: 'OrderedDict[str, Tensor]', strict: bool) -> None:
        """Load tensors into the model, where it has weights."""
        if not self._has_no_weights:
            super().load_weights(state, strict)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Shard the model, and the copy of it that is averaged."""
        if self.first_has_weights and not self._randomness.get('diff_rank_seed'):
            draw_as_first()
        called = unwrap(model)
        sharding = Sharding(
            self._mesh, self._units, self._reshard_after_forward, self._prefetch, self._offload
        )
        self._log_units(called)
        check_flat_decay(self.runner.cfg, trained_scalars(called))
        self._scalars = sharding.apply(called)
        for hook in averaging_hooks(self.runner.hooks):
            shard_average(hook, sharding)
        Calls(called, sharding)
        return model

    def wrap_optimizer(self) -> None:
        """Let the optimizer load whole states, and step as it would over whole parameters."""
        scalars = {p for n, p in self.unwrapped.named_parameters() if n in self._scalars}
        for wrapper in optim_wrappers(self.optim_wrapper):
            serve_whole_state(wrapper.optimizer, scalars)
        self._step_together()

    def restore_training(self, checkpoint: dict) -> None:
        """Give a resumed run the state of its optimizer and schedulers."""
        super().restore_training(checkpoint)
        self._step_together()  # what the checkpoint says of it is for whole parameters

    def _step_together(self) -> None:
        """Choose what torch chooses for ordinary tensors; sharded ones it would step one by one."""
        for wrapper in optim_wrappers(self.optim_wrapper):
            for group in wrapper.optimizer.param_groups:
                if (
                    get_device() != 'cpu'
                    and not group.get('fused')
                    and group.get('foreach', False) is None
                ):
                    group['foreach'] = True

    # States and files.

    def full_state_dict(self, module: nn.Module) -> dict[str, Tensor]:
        """Return the tensors of a module, put together in the first process."""
        state = model_state(module, self._scalars)
        whole = gather(state)
        whole._metadata = getattr(state, '_metadata', OrderedDict())
        return whole if is_main_process() else OrderedDict()

    @contextmanager
    def accumulated_gradients(self) -> Iterator[Mapping[str, nn.Parameter]]:
        """Have this process's gradients that have not been sharded yet."""
        with gathered(self.unwrapped):
            yield {name: p for name, p in self.unwrapped.named_parameters() if p.requires_grad}

    def save_checkpoint(  # type: ignore[override]  # all that every strategy takes
        self,
        filename: str,
        *,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        extra_ckpt: dict | None = None,
        callback: Callable | None = None,
    ) -> None:
        """Write a checkpoint; to be called by all processes.

        Args:
            filename (str): The file, or the folder where there is to be one.
            save_optimizer (bool): Whether to save the optimizer. Defaults to True.
            save_param_scheduler (bool): Whether to save the schedulers. Defaults to True.
            extra_ckpt (dict, optional): What else belongs into it.
            callback (Callable, optional): Changes the checkpoint before it is written. Called in
                the first process, or in all of them, with sharded tensors, for a folder.
        """

        def read(module: nn.Module):
            return (
                model_state(module, self._scalars)
                if self._writes_folders
                else self.full_state_dict(module)
            )

        checkpoint = dict(state_dict=read(self.unwrapped))
        if save_optimizer and hasattr(self, 'optim_wrapper'):
            state = self.optim_state_dict()
            checkpoint['optimizer'] = state if self._writes_folders else gather(state)
        if save_param_scheduler and hasattr(self, 'param_schedulers'):
            checkpoint['param_schedulers'] = self.scheduler_state_dict()
        checkpoint.update(extra_ckpt or {})
        checkpoint['meta'] = dict(
            checkpoint.get('meta', {}),
            seed=self.seed,
            mmengine=mmengine.__version__ + get_git_hash(),
            time=time.strftime('%Y%m%d_%H%M%S', time.localtime()),
        )
        averages = [
            (hook.ema_model, read(hook.ema_model)) for hook in averaging_hooks(self.runner.hooks)
        ]
        if not is_main_process() and not self._writes_folders:
            return
        if callback is not None:
            with ExitStack() as stack:
                for average, state in averages:  # which hooks ask for it in one process only
                    stack.enter_context(
                        mock.patch.object(average, 'state_dict', lambda state=state: state)
                    )
                callback(checkpoint)
        if self._writes_folders:
            write_sharded(filename, checkpoint)
        else:
            save_checkpoint(checkpoint, filename)

    def _log_units(self, model: nn.Module) -> None:
        inside = {p for name in self._units for p in model.get_submodule(name).parameters()}
        rest = sum(p.numel() for p in set(model.parameters()) - inside)
        total = sum(p.numel() for p in model.parameters())
        copies = f', in {self._replicate} copies' if self._replicate > 1 else ''
        self.logger.info(
            f'FSDP2: {total / 1e6:.2f} M parameters sharded among {get_world_size()} processes'
            f'{copies}; gathered as one each: '
            + ''.join(f'{count} {kind}, ' for kind, count in self._kinds.items())
            + f'and the {rest / 1e6:.2f} M parameters in none of them'
        )
