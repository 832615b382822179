"""Whether a checkpoint is what a run needs of it: MMEngine logs what does not fit and goes on."""

from collections.abc import Mapping

from mmengine.hooks import Hook
from torch import Tensor, nn

from ..classes import names_of_checkpoint
from ..errors import UserError
from ..files.resumable import check_can_resume
from ..logs import warn
from ..runs import built_loop, checkpoint_to_load, resumes, trains, unwrap
from .random_state_hook import RandomStateHook

_SHOWN = 6


class LoadedCheckpointHook(Hook):
    """Refuse to resume without an optimizer, and to evaluate predictions of random layers.

    Registered by the tools where the config has no PEFTInjectHook, which does the same.
    """

    priority = 'VERY_LOW'

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Look at what has been read, before it is loaded."""
        path = str(checkpoint_to_load(runner))
        if trains(runner):
            if resumes(runner):
                check_can_resume(checkpoint, path, bool(runner.cfg.get('param_scheduler')))
                if not any(isinstance(hook, RandomStateHook) for hook in runner.hooks):
                    warn(
                        f'a run with {type(runner.strategy).__name__} does not continue exactly '
                        'as one that was never stopped: random states, and what the model keeps '
                        "in Python's attributes, are in none of its checkpoints; a strategy of "
                        'mmadapt keeps them'
                    )
            return
        names = class_names(checkpoint)
        check_evaluated(
            runner.model,
            evaluated_classes(runner),
            checkpoint.get('state_dict', checkpoint),
            names,
            path,
        )


def class_names(checkpoint: Mapping) -> list[str] | None:
    """Return what a checkpoint says that its model predicts, if it says it."""
    return names_of_checkpoint(checkpoint).get('classes')


def evaluated_classes(runner) -> list[str] | None:
    """Return the classes of the data that a runner evaluates on, if they are known."""
    loop = built_loop(runner, 'test') or built_loop(runner, 'val')
    here = (
        (getattr(loop.dataloader.dataset, 'metainfo', None) or {}).get('classes')
        if loop is not None
        else None
    )
    return None if here is None or isinstance(here, str) else [str(name) for name in here]


def check_evaluated(
    model: nn.Module,
    here: list[str] | None,
    state: Mapping[str, Tensor],
    names: list[str] | None,
    path: str,
) -> None:
    """Check that the weights that a run evaluates fit its model, and say if its classes differ.

    Takes and raises what :func:`check_fits` does.
    """
    classes = check_fits(model, here, state, names, path)
    if classes:
        warn(f'{path}: {classes}; the first class of the one is taken for the first of the other')


def check_fits(
    model: nn.Module,
    here: list[str] | None,
    state: Mapping[str, Tensor],
    names: list[str] | None,
    path: str,
) -> str:
    """Check that the weights that a run evaluates fit its model, and its data the classes.

    Args:
        model (nn.Module): The model that validates or tests.
        here (list[str], optional): The classes of its data.
        state (Mapping[str, Tensor]): The weights, by key of the model.
        names (list[str], optional): What they were trained to predict.
        path (str): Where they come from, for messages.

    Returns:
        str: How the classes differ, empty if they do not.

    Raises:
        UserError: A weight has another shape than in the model, which would have a random one.
    """
    classes = ''
    if names is not None and here is not None and names != here:
        classes = f'its classes are {_list(names)}, those of the data set here {_list(here)}'
    misfits = [
        (key, tuple(state[key].shape), tuple(p.shape))
        for key, p in unwrap(model).named_parameters()
        if key in state and state[key].shape != p.shape
    ]
    if misfits:
        key, there, own = misfits[0]
        raise UserError(
            f'{path} does not fit this config: {key} has the shape {there} there and '
            f'{own} in the model, as {len(misfits) - 1} more have others, which would '
            f'be random; {classes or "the config it was trained with fits"}'
        )
    return classes


def _list(names: list[str]) -> str:
    shown = ', '.join(names[:_SHOWN]) + (', ...' if len(names) > _SHOWN else '')
    return f'{len(names)} ({shown})'
