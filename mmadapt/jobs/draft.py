"""A config that is being made of a job."""

from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config

from .job import Job
from .stock import Stock


@dataclass
class Draft:
    """What is known while a job is converted.

    Args:
        job (Job): The job.
        stock (Stock): The config that it inherits.
        cfg (Config): What the config is to say; begins as what is inherited.
        keeps_schedule (bool): Whether epochs beyond the run stay as they are.
        task (str): ``'boxes'``, ``'masks'``, ``'maps'``, ``'points'`` or ``'classes'``.
        metric (str): What the best checkpoint is chosen by.
        processes (int): How many train, on each machine.
        nodes (int): How many machines.
        environment (dict[str, str]): Variables that the training is started with.
        launch (list[str]): What else ``mmadapt launch`` is given.
    """

    job: Job
    stock: Stock
    cfg: Config
    keeps_schedule: bool = False
    task: str = 'boxes'
    metric: str = ''
    processes: int = 1
    nodes: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    launch: list[str] = field(default_factory=list)

    def add_hook(self, **hook: Any) -> None:
        """Add a hook behind those that are there."""
        self.cfg.custom_hooks = [*(self.cfg.get('custom_hooks') or []), hook]
