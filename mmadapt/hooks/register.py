"""Registering a hook while the hooks are being called."""

from mmengine.hooks import Hook


def register_in_before_run(runner, hook: Hook) -> None:
    """Register a hook from the ``before_run`` of another one, and call its own.

    A runner calls its hooks while it iterates over their list. One that is inserted before the
    present one would not be called, and the present one twice; so the list that is iterated over
    is left as it is.

    Args:
        runner (Runner): A runner that is calling ``before_run``.
        hook (Hook): The hook; where its priority puts it decides for all later calls.
    """
    runner._hooks = [*runner._hooks]
    runner.register_hook(hook)
    hook.before_run(runner)
