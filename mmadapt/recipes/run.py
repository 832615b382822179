"""The config of a short run by a recipe, and what all runs of a table have in common."""

from dataclasses import asdict, dataclass

from mmengine.config import Config

from ..cli import load_config
from .changes import Model, apply
from .images import drop_downloads, use_images
from .recipe import Recipe

SEED = 0
LR = 1e-6


@dataclass
class Setting:
    """What all rows of a table have in common.

    Args:
        config (str): The config.
        options (dict): Changes of it, as after ``--cfg-options``.
        size (tuple[int, int]): Height and width of the images in pixels.
        batch (int): Number of images of a process.
        processes (int): Number of processes.
        iterations (int): How many are timed.
        warm_up (int): How many are dropped before.
        device (str): ``'cpu'`` or ``'cuda'``.
        threads (int, optional): Of a process on a CPU; by default the cores are shared out.
    """

    config: str
    options: dict
    size: tuple[int, int]
    batch: int
    processes: int
    iterations: int
    warm_up: int
    device: str
    threads: int | None = None


def row_for(recipe: Recipe, setting: Setting, model: Model, work_dir: str) -> dict:
    """Return what a row's process is told, as :func:`~mmadapt.measuring.row.run_row` reads it."""
    return dict(
        asdict(setting),
        recipe=recipe.name,
        model=asdict(model),
        work_dir=work_dir,
        launcher='pytorch' if setting.processes > 1 else 'none',
    )


def prepared(recipe: Recipe, row: dict) -> Config:
    """Return the config of a row's run.

    Args:
        recipe (Recipe): Its recipe.
        row (dict): As in its file.
    """
    cfg = load_config(row['config'], row['options'])
    cfg = apply(recipe, cfg, Model(**row['model']))
    use_images(cfg, tuple(row['size']), row['batch'])
    drop_downloads(cfg.model)
    last = row['warm_up'] + row['iterations']
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=last, val_interval=last + 1)
    for key in ('val', 'test'):
        for part in ('cfg', 'dataloader', 'evaluator'):
            cfg.pop(f'{key}_{part}', None)
    cfg.param_scheduler = None
    cfg.load_from, cfg.resume, cfg.visualizer = None, False, None
    cfg.default_hooks = dict(checkpoint=None, logger=None, param_scheduler=None)
    cfg.optim_wrapper.optimizer.lr = LR  # so that nothing diverges on noise
    cfg.optim_wrapper.pop('accumulative_counts', None)
    if cfg.get('peft') is not None:
        cfg.peft.allow_random_base = True
    cfg.randomness = dict(seed=SEED)
    cfg.launcher = row['launcher']
    cfg.work_dir = row['work_dir']
    return cfg
