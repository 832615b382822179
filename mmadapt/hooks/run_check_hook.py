"""What is checked when everything is built and nothing has been trained or tested yet."""

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..compat.mismatches import say_mismatches_again, say_mismatches_once
from ..files.pretrained import covered_modules, initializing
from ..logs import warn
from ..optim.resumed import report_resumed, resumed_differences
from ..preflight import find_inconsistencies
from ..preflight.metrics import check_given, check_metrics
from ..runs import built_loop, checkpoint_to_load, initialize_within, resumes, trains, unwrap
from .query_check import check_boxes_wanted, check_sizes, watch_tokens
from .switch_check import check_switches
from .topk_check import check_topk


@HOOKS.register_module()
class RunCheckHook(Hook):
    """Say before a run what will not come out as its config says.

    A schedule that does not fit the length of the run or the checkpoint that is resumed, fewer
    candidates than are chosen, a best number that no evaluator gives, a switch of transforms in
    mid-run that the data set does not have. It also keeps a model from downloading weights that its
    checkpoint overwrites. PEFTInjectHook, MemoryHook and our tools bring one along.
    """

    # Before a model is adapted.
    priority = 'HIGHEST'

    def __init__(self) -> None:
        self._is_done = False
        self._handles: list = []

    def before_run(self, runner) -> None:
        """Check the built model and its evaluators; keep it from needless downloads."""
        if self._is_done:
            return
        self._is_done = True
        model, training = unwrap(runner.model), trains(runner)
        if training and isinstance(runner, Runner):
            initialize_within(runner, initializing(model, covered_modules(model, runner)))
        if training:
            check_switches(model, runner.train_dataloader.dataset, runner.hooks, runner.max_epochs)
        check_boxes_wanted(model)
        check_sizes(model, _pipelines(runner))
        if built_loop(runner, 'val'):
            metrics = getattr(runner.val_loop.evaluator, 'metrics', [])
            check_topk(model, metrics, 'val_evaluator')
            if training:
                check_metrics(runner.hooks, metrics)
        if built_loop(runner, 'test'):
            metrics = getattr(runner.test_loop.evaluator, 'metrics', [])
            check_topk(model, metrics, 'test_evaluator')

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Say what of the config a resumed run is not going to follow, and misfits only once."""
        say_mismatches_once()
        # A strategy builds the optimizer later, and says it then.
        if not resumes(runner) or not isinstance(runner, Runner):
            return
        wrapper = runner.optim_wrapper
        groups = None if isinstance(wrapper, OptimWrapperDict) else wrapper.param_groups
        differences = resumed_differences(checkpoint, runner.param_schedulers, groups)
        for line in report_resumed(
            checkpoint,
            differences,
            runner.cfg.get('train_cfg') or {},
            str(checkpoint_to_load(runner)),
        ):
            warn(line)

    def before_train(self, runner) -> None:
        """Say what does not fit the length of the run."""
        try:
            length = len(runner.train_dataloader)
        except TypeError:  # of an iterable data set
            length = None
        for line in find_inconsistencies(runner.cfg, length):
            warn(line)
        self._watch(runner)

    def before_val(self, runner) -> None:
        """Look at the batches."""
        self._watch(runner)

    def before_test(self, runner) -> None:
        """Look at the batches."""
        self._watch(runner)

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Check the first validation's numbers before anyone looks for one."""
        if trains(runner) and metrics is not None:
            check_given(runner.hooks, metrics)

    def after_run(self, runner) -> None:
        """Leave the model as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def after_train(self, runner) -> None:
        """Leave the model as it was before it is exported."""
        self.after_run(runner)

    def _watch(self, runner) -> None:
        say_mismatches_again()  # it is loaded by now
        if not self._handles:
            self._handles = watch_tokens(unwrap(runner.model))


def add_run_check_hook(runner, asked_by: Hook | None = None) -> None:
    """Register a RunCheckHook where there is none.

    Args:
        runner (Runner): A runner that has not begun, or in its hooks' ``before_run``.
        asked_by (Hook, optional): The hook whose ``before_run`` that is.
    """
    if any(isinstance(hook, RunCheckHook) for hook in runner.hooks):
        return
    hook = RunCheckHook()
    if asked_by is None:
        runner.register_hook(hook)
    else:
        # Behind that one: the runner is going through its hooks.
        runner.register_hook(hook, priority=asked_by.priority)
        hook.before_run(runner)


def _pipelines(runner) -> dict[str, list]:
    found = {}
    for name in ('train', 'val', 'test'):
        if built_loop(runner, name) is None:
            continue
        dataset = (runner.cfg.get(f'{name}_dataloader') or {}).get('dataset') or {}
        while isinstance(dataset, dict) and isinstance(dataset.get('dataset'), dict):
            if dataset.get('pipeline'):
                break  # mosaics and the like, around another data set
            dataset = dataset['dataset']
        if isinstance(dataset, dict) and dataset.get('pipeline'):
            found[f'{name}_dataloader'] = dataset['pipeline']
    return found
