"""The door through which a stock runner's model is adapted.

A runner builds and wraps its model before any hook runs, and builds the optimizer before
``before_run``; the weights come after it. So the hook unwraps, adapts, wraps again and rebuilds the
optimizer, and looks into the checkpoint beforehand for what it will not provide.
"""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from ..classes import KeptClasses, lines_of
from ..config_files import inherited
from ..errors import UserError
from ..files import (
    KEY,
    AdapterRecord,
    base_state_dict,
    complete_state_dict,
    read_adapter,
    read_checkpoint,
    restore,
    unguard,
)
from ..files.prefix import with_full_keys
from ..files.trained_part import NOTE
from ..logs import say
from ..peft import PEFTConfig, check_intact
from ..runner import FlexibleRunner
from ..runs import (
    averaging_hooks,
    checkpoint_hooks,
    checkpoint_to_load,
    register_in_before_run,
    trains,
    unwrap,
)
from ..strategies import AdaptingStrategy
from .adapting import adapt_to_evaluate, adapt_to_train, take_as_base
from .base_check import check_still_built_in
from .checkpoint_hook import PEFTCheckpointHook
from .initial_values import start_from_weights
from .kept_rows import load_keeping, values_there
from .loaded_hook import check_evaluated, class_names, evaluated_classes
from .memory_hook import MemoryHook, lacks_memory_hook
from .quantize import quantize_loaded
from .random_state_hook import add_random_state_hook
from .rewire import rewire
from .run_check_hook import add_run_check_hook
from .safe_checkpoints import secure_checkpoints


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
        self._path: str | None = None  # the checkpoint that is going to be loaded
        self._source: str | None = None  # that, or the adapter that is evaluated
        self._adapter: str | None = None  # folder whose tensors are still to be loaded
        self._built_in: dict[str, str] = {}  # digests of what must not be drawn anew
        self._trains = False
        self._is_new = False  # nothing has been trained yet
        self._anew: set[str] = set()  # keys for which an earlier training is not asked
        self._kept: KeptClasses | None = None  # rows for classes that what is loaded knows

    def before_run(self, runner) -> None:
        """Adapt the model and whatever was built from it."""
        if self._model is not None:
            if trains(runner) and not self._trains:
                raise UserError(
                    'this runner has evaluated an adapted model and cannot train it; '
                    'build another one with Runner.from_cfg(cfg)'
                )
            return
        if not isinstance(runner, (Runner, FlexibleRunner)):
            raise UserError(
                f'PEFTInjectHook: a {type(runner).__name__} wraps the model before any '
                "hook runs; build it from a config with runner_type='FlexibleRunner' "
                "or 'Runner'"
            )
        if isinstance(runner, FlexibleRunner) and not isinstance(runner.strategy, AdaptingStrategy):
            raise UserError(
                f'PEFTInjectHook: {type(runner.strategy).__name__} wraps the model '
                'before any hook runs; name a strategy of mmadapt in the config'
            )
        if runner.cfg.get('peft') is None:
            raise UserError(
                'custom_hooks holds PEFTInjectHook but the config has no `peft`; '
                f'inherit {inherited("peft/lora.py")} or write '
                'peft=dict(method=...)'
            )
        config = self._config = PEFTConfig.parse(runner.cfg.peft)
        self._check_order(runner)
        add_run_check_hook(runner, self)
        model = _adaptable(runner.model)
        path = checkpoint_to_load(runner)
        checkpoint = {} if path is None else read_checkpoint(path)
        if trains(runner):
            self._prepare_training(runner, model, config, path, checkpoint)
        else:
            source = adapt_to_evaluate(model, config, path, checkpoint)
            self._model = None if source is None else model
            self._adapter = None if source == path else source
        self._path, self._source = path, self._adapter or path
        # MMEngine's own checkpointing would leave adapters at rest.
        if lacks_memory_hook(runner, model):
            register_in_before_run(runner, MemoryHook())

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Complete a checkpoint that holds only what was trained, before anyone reads it."""
        if self._model is None:
            self._check_evaluated(runner, checkpoint, class_names(checkpoint))
            return
        names = class_names(checkpoint)
        unguard(checkpoint)
        if self._trains:
            take_as_base(runner, checkpoint)
        # A bare state dict, or one with prefixes, is read as MMEngine will read it after the hooks.
        state = checkpoint.get('state_dict', {**checkpoint})
        if 'state_dict' not in checkpoint:
            checkpoint.clear()
        checkpoint['state_dict'] = {k.removeprefix('module.'): v for k, v in state.items()}
        if KEY in checkpoint:
            values = self._complete(runner, checkpoint, self._path or 'the checkpoint')
        else:
            values = with_full_keys(self._model, checkpoint['state_dict'])
            checkpoint['state_dict'] = {**values}
        if self._adapter is not None:
            record, tensors = read_adapter(self._adapter)
            values = self._values_there(runner, record, tensors, values)
            checkpoint['state_dict'] = restore(
                self._model, record, tensors, checkpoint['state_dict'], self._adapter, self._anew
            )
            names, self._adapter = record.class_names, None
        if self._kept is not None:
            self._kept.fill(checkpoint['state_dict'], self._model.state_dict(), values)
            self._kept = None
        if not self._trains:
            self._check_evaluated(runner, checkpoint, names)

    def _check_evaluated(self, runner, checkpoint: dict, names) -> None:
        if self._config is not None:  # else nothing is going to run yet
            check_evaluated(
                runner.model,
                evaluated_classes(runner),
                checkpoint.get('state_dict', checkpoint),
                names,
                str(self._source),
            )

    def before_wrap(self, runner) -> None:
        """Finish the adapter, now that its base is loaded and before a strategy wraps the model."""
        self._finish(runner)

    def before_train(self, runner) -> None:
        """Finish the adapter, now that its base is loaded."""
        if isinstance(runner, Runner):
            self._finish(runner)

    def before_val(self, runner) -> None:
        """Load an adapter to evaluate."""
        if isinstance(runner, Runner):
            self._finish(runner)

    def before_test(self, runner) -> None:
        """Load an adapter to evaluate."""
        if isinstance(runner, Runner):
            self._finish(runner)

    def _finish(self, runner) -> None:
        if self._model is None:
            return
        if not self._trains:
            self._load_pending_adapter()
        check_intact(self._model)
        check_still_built_in(self._model, self._built_in)
        self._built_in = {}
        quantize_loaded(runner, self._model)
        if self._is_new:
            start_from_weights(runner, self._model)
            self._is_new = False
        self._load_pending_adapter()

    def _prepare_training(self, runner, model, config, path, checkpoint) -> None:
        adapted = adapt_to_train(runner, model, config, path, checkpoint)
        self._model, self._trains, self._is_new = model, True, adapted.is_new
        self._adapter, self._anew, self._kept = adapted.adapter, adapted.anew, adapted.kept
        self._built_in = adapted.built_in
        if isinstance(runner, Runner):
            rewire(runner, model)
        secure_checkpoints(runner)
        for hook in checkpoint_hooks(runner.hooks):
            if hook.published_keys is not None:
                hook.published_keys = [*hook.published_keys, KEY, NOTE]
        add_random_state_hook(runner)
        register_in_before_run(runner, PEFTCheckpointHook(model, config, adapted.base))
        report = adapted.report
        for line in (report.summary(), *report.warnings, *lines_of(self._kept), report.line()):
            say(line)

    def _values_there(self, runner, record: AdapterRecord, stored, base):
        """Return what rows are kept of, where that is asked for."""
        if self._kept is None:
            return {}
        assert self._model is not None
        return values_there(self._model, self._kept, runner.cfg, record, stored, base)

    def _complete(self, runner, checkpoint: dict, source: str):
        model, config = self._model, self._config
        assert model is not None
        assert config is not None
        record = AdapterRecord.from_dict(checkpoint[KEY], source)
        stored = checkpoint['state_dict']
        base = base_state_dict(model, record.base, config.base)
        checkpoint['state_dict'] = restore(model, record, stored, base, source, self._anew)
        if 'ema_state_dict' in checkpoint:
            averaged = checkpoint['ema_state_dict']
            average = {
                key.removeprefix('module.'): value
                for key, value in averaged.items()
                if key.startswith('module.')
            }
            counters = {k: v for k, v in averaged.items() if not k.startswith('module.')}
            average = complete_state_dict(model, average, base, source, self._anew)
            checkpoint['ema_state_dict'] = {
                **counters,
                **{f'module.{key}': value for key, value in average.items()},
            }
        return self._values_there(runner, record, stored, base)

    def _load_pending_adapter(self) -> None:
        # Only where no checkpoint was loaded; otherwise it came with it.
        if self._model is not None and self._adapter is not None:
            load_keeping(self._model, self._adapter, self._kept)
            self._adapter = self._kept = None

    def _check_order(self, runner) -> None:
        earlier = runner.hooks[: runner.hooks.index(self)]
        if averaging_hooks(earlier):
            raise UserError(
                'EMAHook runs before PEFTInjectHook and would average the model '
                'without its adapters; leave the priority of PEFTInjectHook alone'
            )


def _adaptable(model: nn.Module) -> nn.Module:
    if is_model_wrapper(model) and not hasattr(model, 'reducer'):
        raise UserError(
            f'a model wrapped by {type(model).__name__} cannot be adapted; use '
            'MMDistributedDataParallel'
        )
    return unwrap(model)
