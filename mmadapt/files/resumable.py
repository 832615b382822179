"""Whether a training can go on from a checkpoint as if it had never stopped."""

import os.path as osp
from collections.abc import Mapping

from ..errors import UserError


def check_can_resume(checkpoint: Mapping, path: str, schedules: bool) -> None:
    """Check that a checkpoint has the state of the optimizer and the schedulers.

    Args:
        checkpoint (Mapping): What it holds.
        path (str): The file, for messages.
        schedules (bool): Whether the run has schedulers.

    Raises:
        UserError: It has not.
    """
    lacking = [] if 'optimizer' in checkpoint else [('optimizer', 'save_optimizer')]
    if 'param_schedulers' not in checkpoint and schedules:
        lacking.append(('learning-rate schedule', 'save_param_scheduler'))
    if not lacking:
        return
    if osp.basename(path).startswith('best_'):
        why = 'best_*.pth never does; resume epoch_k.pth'
    elif 'iter' not in (checkpoint.get('meta') or {}):
        why = 'it is not one that a training has left'
    else:
        why = 'it was written with ' + ' and '.join(
            f'default_hooks.checkpoint.{option}=False' for _, option in lacking
        )
    raise UserError(
        f'{path} holds no {" nor ".join(what for what, _ in lacking)} and cannot be '
        f'resumed: {why}. Starting from it is load_from={path}, without --resume'
    )
