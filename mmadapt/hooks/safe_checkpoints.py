"""Checkpoints of which a run has a whole one left, at whatever moment it is killed."""

from mmengine.hooks import CheckpointHook, Hook

from ..files import write_checkpoints_atomically
from ..runs import checkpoint_hooks


def secure_checkpoints(runner) -> None:
    """Write a run's checkpoints atomically, and delete the one before only then.

    For every kind of run, with ``peft`` or without it. What is in the files does not change.

    Args:
        runner (Runner): A runner that has not begun to train.
    """
    write_checkpoints_atomically()
    if not any(isinstance(hook, RemoveAfterwardsHook) for hook in runner.hooks):
        runner.register_hook(RemoveAfterwardsHook())


class RemoveAfterwardsHook(Hook):
    """Delete outdated checkpoints once the new ones are on the disk.

    MMEngine's CheckpointHook deletes what ``max_keep_ckpts`` has no place for, and the best one so
    far, and then writes what takes their place. Registered by :func:`secure_checkpoints`.
    """

    # After CheckpointHook, which has written a checkpoint by then and the note which is the last.
    priority = 'LOWEST'

    def before_train(self, runner) -> None:
        """Take the deleting over, now that the hooks know where they write to."""
        for hook in checkpoint_hooks(runner.hooks):
            hook.file_backend = _RemovesLater(hook.file_backend)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Delete what has been replaced."""
        self._remove(runner)

    def after_train_epoch(self, runner) -> None:
        """Delete what has been replaced."""
        self._remove(runner)

    def after_val_epoch(self, runner, metrics=None) -> None:
        """Delete the best one so far, if there is a better one."""
        self._remove(runner)

    def _remove(self, runner) -> None:
        for hook in checkpoint_hooks(runner.hooks):
            if isinstance(hook.file_backend, _RemovesLater):
                hook.file_backend.remove_now(keep=_current(hook))


class _RemovesLater:
    """A storage that notes what is to be deleted until it is told to do so."""

    def __init__(self, backend) -> None:
        self._backend = backend
        self._later: dict[str, str] = {}  # the method that deletes it, by path

    def __getattr__(self, name: str):
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._later[path] = 'remove'

    def rmtree(self, path: str) -> None:
        self._later[path] = 'rmtree'

    def remove_now(self, keep: set[str]) -> None:
        later, self._later = self._later, {}
        for path, method in later.items():
            if path not in keep:  # what has been written again under its old name
                getattr(self._backend, method)(path)


def _current(hook: CheckpointHook) -> set[str]:
    best = getattr(hook, 'best_ckpt_path_dict', None) or {'': getattr(hook, 'best_ckpt_path', None)}
    return {str(path) for path in (hook.last_ckpt, *best.values()) if path is not None}
