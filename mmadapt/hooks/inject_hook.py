"""The door through which a stock runner's model is adapted.

A runner builds and wraps its model before any hook runs, and builds the optimiser before
``before_run``; the weights come after it. So the hook unwraps, adapts, wraps again and rebuilds the
optimiser, and looks into the checkpoint beforehand for what it will not provide.
"""

import copy
import os.path as osp

from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner, find_latest_checkpoint
from torch import nn

from ..errors import UserError
from ..files import (
    AdapterRecord,
    BaseRecord,
    base_state_dict,
    complete_state_dict,
    load_adapter,
    make_base_record,
    read_adapter,
    read_checkpoint,
    restore,
    write_checkpoints_atomically,
)
from ..files.record import KEY
from ..memory import checkpoint_activations
from ..tuning import PEFTConfig, inject, require_state
from .checkpoint_hook import PEFTCheckpointHook
from .random_state_hook import RandomStateHook


@HOOKS.register_module()
class PEFTInjectHook(Hook):
    """Adapt the runner's model as the config's top-level ``peft`` key says.

    In training, validation and testing, in one process and under DDP, with the stock ``Runner`` and
    the stock tools. Checkpoints then hold what is trained and a record of the base; they, a base
    with ``peft.adapter`` set, and merged models can all be tested.
    """

    # Before EMAHook, which copies the model, whatever priority a config has given it.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._config: PEFTConfig | None = None
        self._model: nn.Module | None = None
        self._adapter: str | None = None    # folder whose tensors are still to be loaded
        self._checkpointing = None

    def before_run(self, runner) -> None:
        """Adapt the model and whatever was built from it."""
        if self._model is not None:
            return
        if not isinstance(runner, Runner):
            raise UserError(f"PEFTInjectHook works under runner_type='Runner'; a "
                            f'{type(runner).__name__} wraps the model before any hook runs')
        if runner.cfg.get('peft') is None:
            raise UserError('custom_hooks holds PEFTInjectHook but the config has no `peft`; '
                            'inherit configs/_base_/peft/lora.py or write peft=dict(method=...)')
        self._config = PEFTConfig.parse(runner.cfg.peft)
        self._check_order(runner)
        model = _unwrap(runner.model)
        path = _checkpoint_to_load(runner)
        checkpoint = {} if path is None else read_checkpoint(path)
        if isinstance(runner._train_loop, BaseLoop):
            self._prepare_training(runner, model, path, checkpoint)
        else:
            self._prepare_evaluation(model, path, checkpoint)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Complete a checkpoint that holds only what was trained, before anyone reads it."""
        if self._model is None:
            return
        if KEY in checkpoint:
            self._complete(checkpoint, 'the checkpoint')
        elif self._adapter is not None:
            record, tensors = read_adapter(self._adapter)
            base = checkpoint.get('state_dict', checkpoint)
            checkpoint['state_dict'] = restore(self._model, record, tensors, base, self._adapter)
            self._adapter = None

    def before_train(self, runner) -> None:
        """Load an adapter to start from, and recompute activations if the config says so."""
        self._load_pending_adapter()
        if self._checkpointing is not None:
            runner.cfg.activation_checkpointing = self._checkpointing
            checkpoint_activations(self._model, self._checkpointing)

    def before_val(self, runner) -> None:
        """Load an adapter to evaluate."""
        self._load_pending_adapter()

    def before_test(self, runner) -> None:
        """Load an adapter to evaluate."""
        self._load_pending_adapter()

    def _prepare_training(self, runner, model, path, checkpoint) -> None:
        config = self._config
        if runner.cfg.get('efficient_conv_bn_eval'):
            raise UserError('efficient_conv_bn_eval bypasses the layers that peft adapts; '
                            'remove it from the config')
        if KEY in checkpoint:
            record = AdapterRecord.from_dict(checkpoint[KEY], path)
            base = record.base
            report = inject(model, config, not_loaded=record.not_loaded)
            record.check_same(require_state(model), path)
        elif runner._resume and path is not None:
            raise UserError(f'{path} was not written by a training with `peft` and cannot be '
                            'resumed; start from it with load_from')
        else:
            base = make_base_record(model, path, checkpoint.get('state_dict', {}))
            if self._check_base(runner, model, base):
                report = inject(model, config, not_loaded=base.not_in_base)
            else:
                report = inject(model, config)
        self._adapter = None if KEY in checkpoint else config.adapter
        self._model = model
        _rebuild(runner, model)
        # MMEngine would apply it between here and `before_train`, and reentrantly.
        self._checkpointing = runner.cfg.get('activation_checkpointing')
        runner.cfg.activation_checkpointing = None
        write_checkpoints_atomically()
        runner.register_hook(RandomStateHook())
        runner.register_hook(PEFTCheckpointHook(model, config, base))
        for line in (report.summary(), *report.warnings, report.line()):
            print_log(('\n' if '\n' in line else '') + line, 'current')

    def _prepare_evaluation(self, model, path, checkpoint) -> None:
        config = self._config
        if KEY in checkpoint:
            record, source = AdapterRecord.from_dict(checkpoint[KEY], path), path
        elif config.adapter is not None:
            record, source = read_adapter(config.adapter)[0], config.adapter
            self._adapter = config.adapter
        else:
            print_log(f'{path} holds no adapter and peft.adapter is not set: a plain model is '
                      'evaluated', 'current')
            return
        self._model = model
        print_log(f'{source}: ' + record.inject_into(model, source).line(), 'current')

    def _check_base(self, runner, model, base: BaseRecord) -> bool:
        """Return whether there are base weights.

        Raises:
            UserError: There are none, something would be frozen, and that was not asked for.
        """
        keys = [key for key in model.state_dict() if not key.endswith('num_batches_tracked')]
        loaded = len(keys) - len(base.not_in_base)
        if base.load_from or base.pretrained:
            print_log(f'pretrained weights for {loaded} of {len(keys)} tensors of the model',
                      'current')
        config = self._config
        if loaded or (config.method is None and config.targets == 'all'):
            return loaded > 0
        if not config.allow_random_base:
            why = f'{base.load_from} has none of its weights' if base.load_from else (
                '--resume found no checkpoint and has cleared load_from: run without it'
                if runner._resume else 'set load_from')
            raise UserError(f'the frozen base of this {type(model).__name__} would be random: '
                            f'{why}. (peft.allow_random_base=True if that is meant)')
        print_log('WARNING: the frozen base is random, as peft.allow_random_base says; no file '
                  'provides it, so every checkpoint holds the whole model', 'current')
        return False

    def _complete(self, checkpoint: dict, source: str) -> None:
        record = AdapterRecord.from_dict(checkpoint[KEY], source)
        stored = checkpoint['state_dict']
        base = base_state_dict(self._model, record.base, self._config.base)
        checkpoint['state_dict'] = restore(self._model, record, stored, base, source)
        if 'ema_state_dict' in checkpoint:
            averaged = checkpoint['ema_state_dict']
            average = {key.removeprefix('module.'): value for key, value in averaged.items()
                       if key.startswith('module.')}
            counters = {k: v for k, v in averaged.items() if not k.startswith('module.')}
            average = complete_state_dict(self._model, average, base, source)
            checkpoint['ema_state_dict'] = {
                **counters, **{f'module.{key}': value for key, value in average.items()}}

    def _load_pending_adapter(self) -> None:
        # Only where no checkpoint was loaded; otherwise it came with it.
        if self._adapter is not None:
            load_adapter(self._model, self._adapter)
            self._adapter = None

    def _check_order(self, runner) -> None:
        earlier = runner.hooks[:runner.hooks.index(self)]
        if any(isinstance(hook, EMAHook) for hook in earlier):
            raise UserError('EMAHook runs before PEFTInjectHook and would average the model '
                            'without its adapters; leave the priority of PEFTInjectHook alone')


def _unwrap(model: nn.Module) -> nn.Module:
    if is_model_wrapper(model):
        if not hasattr(model, 'reducer'):
            raise UserError(f'a model wrapped by {type(model).__name__} cannot be adapted; use '
                            'MMDistributedDataParallel')
        model = model.module
    return model.module if isinstance(model, BaseTTAModel) else model


def _checkpoint_to_load(runner) -> str | None:
    if not runner._resume or runner._load_from is not None:
        return runner._load_from
    path = find_latest_checkpoint(runner.work_dir)
    if path is not None and not osp.isfile(path):
        raise UserError(f'{osp.join(runner.work_dir, "last_checkpoint")} names {path!r}, which is '
                        'not there; say --resume FILE')
    return path


def _rebuild(runner, model: nn.Module) -> None:
    """Wrap the adapted model and build optimiser and schedulers anew from the config."""
    cfg = runner.cfg
    if runner.distributed:
        # The first wrapping has done what sync_bn asks for; a second time would undo frozen norms.
        sync_bn = cfg.pop('sync_bn', None)
        runner.model = runner.wrap_model(copy.deepcopy(cfg.get('model_wrapper_cfg')), model)
        if sync_bn is not None:
            cfg.sync_bn = sync_bn
    if cfg.get('optim_wrapper') is None:
        raise UserError('PEFTInjectHook builds the optimiser anew and needs its config: '
                        'Runner.from_cfg(cfg), not a built optim_wrapper')
    runner.logger.addFilter(_is_not_of_frozen_parameter)
    runner.optim_wrapper = runner.build_optim_wrapper(copy.deepcopy(cfg.optim_wrapper))
    runner.logger.removeFilter(_is_not_of_frozen_parameter)
    for group in runner.optim_wrapper.param_groups:
        group['params'] = [p for p in group['params'] if p.requires_grad]
    _drop_empty_groups(runner.optim_wrapper)
    if runner.param_schedulers is not None:
        # scale_lr refuses to run once there are schedulers.
        runner.param_schedulers = copy.deepcopy(cfg.param_scheduler)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)


def _is_not_of_frozen_parameter(log_record) -> bool:
    # The constructor warns of every frozen parameter, hundreds of them, that it is frozen.
    return 'skipped since its requires_grad=False' not in log_record.getMessage()


def _drop_empty_groups(optim_wrapper) -> None:
    wrappers = getattr(optim_wrapper, 'optim_wrappers', {'': optim_wrapper})
    for wrapper in wrappers.values():
        groups = wrapper.optimizer.param_groups
        groups[:] = [group for group in groups if group['params']]
