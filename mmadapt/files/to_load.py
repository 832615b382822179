"""Which file a run starts from."""

import os.path as osp

from mmengine.runner import find_latest_checkpoint

from ..errors import UserError


def checkpoint_to_load(runner) -> str | None:
    """Return the path or URL that a runner is going to load, None if there is none.

    Args:
        runner (Runner): A runner that has not loaded anything yet.

    Raises:
        UserError: Its work directory names a checkpoint that is not there.
    """
    if isinstance(runner._resume, str):
        return runner._resume
    if not runner._resume or runner._load_from is not None:
        return runner._load_from
    path = find_latest_checkpoint(runner.work_dir)
    if path is not None and '://' not in path and not osp.exists(path):
        raise UserError(f'{osp.join(runner.work_dir, "last_checkpoint")} names {path!r}, which is '
                        'not there; say --resume FILE')
    return path
