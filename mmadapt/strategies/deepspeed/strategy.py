"""ZeRO: optimizer state, gradients and, in stage 3, parameters are shared out over processes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from ...runs import accumulative_counts
from ...type_names import type_name
from ..asked_run import AskedRun
from ..ddp import DDPStrategy
from ..registry import STRATEGIES
from . import operators
from .accumulation import Unreachable, refuse_inside
from .optimization import read_optim_wrapper
from .refusals import check_run
from .settings import parse_settings
from .state import whole_state_dict


@STRATEGIES.register_module()
class DeepSpeedStrategy(DDPStrategy):
    """Training with DeepSpeed, on GPUs or on the processes of a CPU.

    The model is built, adapted and loaded as under DDP, and its checkpoints are those of DDP: a run
    may go on with another stage, another number of processes, or without DeepSpeed. Evaluation
    needs no DeepSpeed.

    Clipping, accumulation, ``paramwise_cfg`` and schedulers are those of the config's
    ``optim_wrapper`` and ``param_scheduler``. Parameters stay float32. In stages 2 and 3
    checkpoints have to be at multiples of ``accumulative_counts``.

    Args:
        zero_optimization (dict, optional): ``stage`` (1: optimizer state is sharded, 2: gradients
            too, 3: parameters too), ``offload_optimizer=dict(device='cpu')``, in stage 3
            ``offload_param`` likewise, and what else DeepSpeed's configuration has under this
            name. Defaults to ``dict(stage=2)``.
        torch_autocast (dict, optional): ``dict(enabled=False)`` to compute in float32. Defaults to
            autocast in bfloat16.
        config (str or dict, optional): DeepSpeed's configuration or a JSON file of it, for what is
            not an argument here.
        gradient_clipping (float, optional): As ``optim_wrapper.clip_grad=dict(max_norm=...)``.
        gradient_accumulation_steps (int, optional): As ``optim_wrapper.accumulative_counts``.
        sync_bn (str, optional): ``'torch'`` or ``'mmcv'``: which synchronized BatchNorm to use.
        env_kwargs (dict, optional): How processes start; this and the next three are the runner's.
        log_kwargs (dict, optional): For the logger.
        auto_scale_lr (dict, optional): Whether to scale the rate with the batch.
        work_dir (str): Where logs go. Defaults to ``'work_dirs'``.
        experiment_name (str, optional): The name of the run.
        sections: Other settings of MMEngine's strategy of this name, which are translated, or
            refused with what to write instead.

    Raises:
        UserError: A setting is unknown or cannot be used.
    """

    def __init__(
        self,
        *,
        zero_optimization: dict | None = None,
        torch_autocast: dict | None = None,
        config: str | dict | None = None,
        gradient_clipping: float | None = None,
        gradient_accumulation_steps: int | None = None,
        sync_bn: str | None = None,
        env_kwargs: dict | None = None,
        log_kwargs: dict | None = None,
        auto_scale_lr: dict | None = None,
        work_dir: str = 'work_dirs',
        experiment_name: str | None = None,
        **sections,
    ) -> None:
        self._settings, said = parse_settings(
            config,
            dict(
                sections,
                zero_optimization=zero_optimization,
                torch_autocast=torch_autocast,
                gradient_clipping=gradient_clipping,
                gradient_accumulation_steps=gradient_accumulation_steps,
            ),
        )
        super().__init__(
            sync_bn=sync_bn,
            env_kwargs=env_kwargs,
            log_kwargs=log_kwargs,
            auto_scale_lr=auto_scale_lr,
            work_dir=work_dir,
            experiment_name=experiment_name,
        )
        for line in said:
            self.logger.warning(line)

    @property
    def stage(self) -> int:
        """int: What is sharded: 1, 2 or 3."""
        return self._settings['zero_optimization']['stage']

    @property
    def sharded(self) -> bool:  # type: ignore[override]  # nobody sets it
        """bool: Whether a process has only a part of each weight once training has begun."""
        return self.stage == 3

    def refuse(self, run: AskedRun) -> None:
        """Refuse a run that DeepSpeed cannot do.

        Args:
            run (AskedRun): The run.

        Raises:
            UserError: It is one.
        """
        check_run(run, self._settings)

    def make_ready(self, optim_wrapper):
        """Start DeepSpeed where there is something to train, and take its part of the config.

        Args:
            optim_wrapper (dict, optional): The config's.

        Returns:
            dict: What MMEngine is to build.

        Raises:
            UserError: DeepSpeed is not installed, or cannot be started.
        """
        if optim_wrapper is None:
            return None
        operators.require_deepspeed()
        operators.register_optimizers()
        optim_wrapper, said = read_optim_wrapper(optim_wrapper, self._settings)
        for line in said:
            self.logger.warning(line)
        operators.start(type_name(optim_wrapper['optimizer']['type']))
        return optim_wrapper

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model as it is: DeepSpeed wants its optimizer with it."""
        return model

    def wrap_optimizer(self) -> None:
        """Hand the model and its optimizer, over trained parameters only, to DeepSpeed."""
        from .engine import DeepSpeedModel, initialize

        groups = [list(group['params']) for group in self.optim_wrapper.optimizer.param_groups]
        engine = initialize(
            self.model,
            self.optim_wrapper.optimizer,
            dict(
                self._settings,
                train_micro_batch_size_per_gpu=self.dispatch_kwargs[
                    'train_micro_batch_size_per_gpu'
                ],
            ),
        )
        self.optim_wrapper.attach(engine, groups)
        self.model = DeepSpeedModel(model=engine)

    def full_state_dict(self, module: nn.Module) -> dict[str, Tensor]:
        """Return the tensors of a module, whole, in the first process; to be called by all."""
        return whole_state_dict(module)

    @contextmanager
    def accumulated_gradients(self) -> Iterator[Mapping[str, nn.Parameter]]:
        """Have the gradients that no step has been made with, where DeepSpeed leaves them whole.

        Yields:
            Mapping[str, nn.Parameter]: What is trained, by name.

        Raises:
            UserError: There are some, and they are sharded: DeepSpeed cannot hand them out, nor
                take those of a checkpoint.
        """
        if self.stage == 1:
            with super().accumulated_gradients() as parameters:
                yield parameters
            return
        if self.optim_wrapper.pending:
            refuse_inside(accumulative_counts(self.optim_wrapper))
        yield Unreachable()

    def gather(self, save_optimizer: bool) -> dict:
        """Return what of a checkpoint takes all processes to get."""
        whole = dict(model=self.full_state_dict(self.unwrapped))
        if save_optimizer:
            whole['optimizer'] = self.optim_wrapper.state_dict()
        return whole
