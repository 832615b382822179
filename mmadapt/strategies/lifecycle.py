"""What our strategies have in common: the order in which a run is prepared, resumed and saved."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmengine._strategy import SingleDeviceStrategy
from mmengine.dist import get_world_size
from mmengine.optim import OptimWrapperDict
from mmengine.runner import load_state_dict, weights_to_cpu
from torch import Tensor, nn

from ..errors import UserError
from ..files import guard, read_checkpoint
from ..files.pretrained import covered_modules, initializing
from ..files.resumable import check_can_resume
from ..hub_parts import building_from_the_cache
from ..logs import warn
from ..optim.resumed import report_resumed, resumed_differences
from ..optim.saved_groups import check_groups
from ..optim.trained_only import build_for_trained
from ..runs import accumulative_counts, checkpoint_to_load, unwrap
from .asked_run import AskedRun, hooks_of_run, lengths_of_config


class AdaptingStrategy(SingleDeviceStrategy):
    """A strategy that lets the hooks act on the model, and loads it, before it wraps it.

    Attributes:
        runner (FlexibleRunner): The runner it belongs to; set by it.
        sharded (bool): Whether a process has only a part of each weight once the model is wrapped.
            Then no hook can read one.
        first_has_weights (bool): Whether only the first process has the weights until then.
    """

    runner: Any = None
    sharded: bool = False
    first_has_weights: bool = False
    model: nn.Module
    _prepared: bool
    _pending: dict | None = None  # what a resumed run restores once it is built

    def prepare(
        self,
        model: nn.Module | dict,
        *,
        optim_wrapper=None,
        param_scheduler=None,
        compile: dict | bool = False,
        dispatch_kwargs: dict | None = None,
    ):
        """Build the model, adapt it and load it; wrap it; build the optimizer and schedulers.

        Args:
            model (nn.Module or dict): The model or its config.
            optim_wrapper (dict or BaseOptimWrapper, optional): None where nothing is trained.
            param_scheduler (dict or list, optional): None where nothing changes.
            compile (bool or dict): Whether and how to compile the model. Defaults to False.
            dispatch_kwargs (dict, optional): Lengths of the run, as the runner knows them.

        Returns:
            The model, and with an ``optim_wrapper`` also it and the schedulers.

        Raises:
            UserError: There is no runner of ours, or the run is one that this strategy cannot do.
        """
        if self._prepared:
            return self._prepared_components()
        if self.runner is None:
            raise UserError(
                f"{type(self).__name__} needs mmadapt's FlexibleRunner: "
                "runner_type='FlexibleRunner' and RUNNERS.build(cfg), or "
                'mmadapt.runner.FlexibleRunner.from_cfg(cfg)'
            )
        self.check_run(optim_wrapper, compile, dispatch_kwargs)
        optim_wrapper = self.make_ready(optim_wrapper)
        self.dispatch_kwargs.update(dispatch_kwargs or {})
        with building_from_the_cache(model):
            built: nn.Module = self.build_model(model)
        with initializing(built, covered_modules(built, self.runner)):
            built = self._init_model_weights(built)
        built = self.place(built)
        self.model = built
        self.runner.begin(built)
        self.model = self.compile_model(self.wrap(built), compile)
        if optim_wrapper is not None:
            self._build_optimization(optim_wrapper, param_scheduler)
        self._prepared = True
        return self._prepared_components()

    def check_run(
        self, optim_wrapper, compile: dict | bool, lengths: Mapping[str, int] | None = None
    ) -> None:
        """Check that a run of this strategy's runner is one that it can do.

        Args:
            optim_wrapper (dict or BaseOptimWrapper, optional): None where nothing is trained.
            compile (bool or dict): Whether and how to compile the model.
            lengths (Mapping[str, int], optional): ``epoch_length`` and ``max_iters``, in
                iterations. Defaults to what the config says of them.

        Raises:
            UserError: It is not.
        """
        cfg = dict(self.runner.cfg, optim_wrapper=optim_wrapper, compile=compile)
        self.refuse(
            AskedRun(
                cfg,
                hooks_of_run(self.runner.hooks),
                get_world_size(),
                lengths_of_config(cfg) if lengths is None else lengths,
            )
        )

    def refuse(self, run: AskedRun) -> None:
        """Refuse a run that cannot be done; to be overridden. Anything can be by default.

        Args:
            run (AskedRun): The run.

        Raises:
            UserError: It is one.
        """

    def make_ready(self, optim_wrapper):
        """Begin with a run that is not refused; to be overridden.

        Args:
            optim_wrapper (dict or BaseOptimWrapper, optional): None where nothing is trained.

        Returns:
            dict or BaseOptimWrapper: What is to be built in its place.
        """
        return optim_wrapper

    def place(self, model: nn.Module) -> nn.Module:
        """Convert the layers of a new model and move it to where it is loaded."""
        raise NotImplementedError

    def wrap(self, model: nn.Module) -> nn.Module:
        """Wrap the adapted and loaded model."""
        raise NotImplementedError

    def wrap_optimizer(self) -> None:
        """Wrap the optimizer too, which is over what is trained only by now."""

    def _build_optimization(self, optim_wrapper, param_scheduler) -> None:
        self.optim_wrapper = build_for_trained(
            lambda: self.build_optim_wrapper(optim_wrapper, self.model), self.logger
        )
        self.wrap_optimizer()
        self._scale_lr()
        if param_scheduler is not None:
            self.param_schedulers = self.build_param_scheduler(param_scheduler, self.optim_wrapper)
        pending, self._pending = self._pending, None
        if pending is not None:
            self.restore_training(pending)
        if accumulative_counts(self.optim_wrapper) > 1:
            self.optim_wrapper.initialize_count_status(
                self.model,
                0 if pending is None else pending['meta']['iter'],
                self.dispatch_kwargs['max_iters'],
            )

    def restore_training(self, checkpoint: dict) -> None:
        """Give a resumed run the state of its optimizer and schedulers.

        Args:
            checkpoint (dict): What :meth:`resume` has read, without the model.
        """
        self._say_differences(checkpoint)
        if 'optimizer' in checkpoint:
            self._check_groups(checkpoint['optimizer'])
            self.load_optim_state_dict(checkpoint.pop('optimizer'))
        if 'param_schedulers' in checkpoint and hasattr(self, 'param_schedulers'):
            self.load_scheduler_state_dict(checkpoint.pop('param_schedulers'))

    def load_checkpoint(
        self,
        filename: str,
        *,
        map_location: str | Callable = 'cpu',
        strict: bool = False,
        revise_keys=((r'^module\.', ''),),
        callback: Callable | None = None,
    ) -> dict:
        """Load the model from a checkpoint file, before it is wrapped.

        Args:
            filename (str): Anything that ``load_from`` takes.
            map_location (str or Callable): Not used: everything is read onto the CPU.
            strict (bool): Whether every key has to fit. Defaults to False.
            revise_keys (Sequence[tuple[str, str]]): Patterns and replacements for keys.
            callback (Callable, optional): Changes the checkpoint before it is loaded.

        Returns:
            dict: What it holds beside the model.

        Raises:
            UserError: It cannot be read, or none of its weights fits.
        """
        self.logger.info(f'Load checkpoint from {filename}')
        checkpoint = guard(read_checkpoint(filename), filename)  # a hook completes it, or nobody
        if callback is not None:
            callback(checkpoint)
        state = checkpoint.pop('state_dict')
        revised = OrderedDict(state)
        for pattern, replacement in revise_keys:
            revised = OrderedDict(
                (re.sub(pattern, replacement, key), value) for key, value in revised.items()
            )
        vars(revised)['_metadata'] = getattr(state, '_metadata', OrderedDict())
        self._check_some_fit(revised, filename)
        self.load_weights(revised, strict)
        return checkpoint

    def resume(
        self,
        filename: str,
        *,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = 'cpu',
        callback: Callable | None = None,
    ) -> dict:
        """Load the model, and keep the rest until the optimizer is built.

        Args:
            filename (str): A checkpoint of a training.
            resume_optimizer (bool): Whether to restore the optimizer. Defaults to True.
            resume_param_scheduler (bool): Whether to restore the schedulers. Defaults to True.
            map_location (str or Callable): Not used: everything is read onto the CPU.
            callback (Callable, optional): Changes the checkpoint before it is loaded.

        Returns:
            dict: What the checkpoint holds beside the model.
        """
        checkpoint = self.load_checkpoint(filename, callback=callback)
        if resume_optimizer:
            check_can_resume(
                checkpoint,
                filename,
                resume_param_scheduler and bool(self.runner.cfg.get('param_scheduler')),
            )
        if not resume_optimizer:
            checkpoint.pop('optimizer', None)
        if not resume_param_scheduler:
            checkpoint.pop('param_schedulers', None)
        self._pending = checkpoint
        seed, own = checkpoint['meta'].get('seed'), self._randomness.get('seed')
        if seed is not None and seed != own:
            if own is not None:
                self.logger.warning(
                    f'the checkpoint was trained with seed {seed}, which is taken '
                    f"instead of the config's {own}"
                )
            self._randomness.update(seed=seed)
            self._set_randomness(**self._randomness)
        return checkpoint

    def load_weights(self, state: 'OrderedDict[str, Tensor]', strict: bool) -> None:
        """Load tensors into the model, which is not wrapped yet; misfits are logged."""
        load_state_dict(self.model, state, strict, self.logger)

    def model_state_dict(self) -> dict[str, Tensor]:
        """Return the whole model's tensors; to be called by all processes."""
        return self.full_state_dict(self.unwrapped)

    def full_state_dict(self, module: nn.Module) -> dict[str, Tensor]:
        """Return the tensors of a module, whole, whatever each process has of them.

        To be called by all processes, none of which may use the model meanwhile.

        Args:
            module (nn.Module): The run's model, not wrapped, or a copy of it that a hook averages.

        Returns:
            dict[str, Tensor]: On the CPU, by stock key. Only the first process need get them.
        """
        return weights_to_cpu(module.state_dict())

    @contextmanager
    def accumulated_gradients(self) -> Iterator[Mapping[str, nn.Parameter]]:
        """Have, while it is entered, this process's gradients that no step has been made with yet.

        Yields:
            Mapping[str, nn.Parameter]: What is trained, by name; gradients can be read and set.
        """
        yield {name: p for name, p in self.unwrapped.named_parameters() if p.requires_grad}

    @property
    def unwrapped(self) -> nn.Module:
        """nn.Module: The model itself."""
        return unwrap(self.model)

    def _say_differences(self, checkpoint: dict) -> None:
        groups = getattr(self.optim_wrapper, 'param_groups', None)
        differences = resumed_differences(
            checkpoint, getattr(self, 'param_schedulers', None), groups
        )
        for line in report_resumed(
            checkpoint,
            differences,
            self.runner.cfg.get('train_cfg') or {},
            str(checkpoint_to_load(self.runner)),
        ):
            warn(line)

    def _check_groups(self, state: dict) -> None:
        wrapper = self.optim_wrapper
        if 'param_groups' in state and not isinstance(wrapper, OptimWrapperDict):
            groups = getattr(wrapper, 'groups', None)  # a sharded optimizer has others inside
            if groups is None:
                groups = [group['params'] for group in wrapper.optimizer.param_groups]
            check_groups(state['param_groups'], [len(params) for params in groups])

    def _check_some_fit(self, state: Mapping[str, Tensor], filename: str) -> None:
        own = self.unwrapped.state_dict()
        fitting = [
            key for key, value in state.items() if key in own and own[key].shape == value.shape
        ]
        if not fitting and own:
            raise UserError(
                f'{filename} has none of the {len(own)} weights of this '
                f'{type(self.unwrapped).__name__}: its first key is '
                f"{next(iter(state), None)!r}, the model's {next(iter(own))!r}"
            )
        self.logger.info(f'{len(fitting)} of the {len(own)} tensors of the model are in {filename}')
