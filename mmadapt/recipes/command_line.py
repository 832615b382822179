"""What `mmadapt plan` and `mmadapt measure` have in common: arguments, and what they mean."""

import argparse
import shlex
import time
import warnings
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from rich.console import Console

from mmadapt_command import typed_words

from ..cli import load_config
from ..cli.arguments import add_config, add_force
from ..errors import UserError
from ..files.existing import refuse_existing
from ..meters.tables import about
from ..preflight.image_size import image_size, padded
from ..values import check_count
from .changes import Model, describe, keys_of
from .recipe import Recipe, default_recipes, parse_recipe
from .run import SEED, Setting

ABOUT_RECIPES = """\
A recipe is put together of `amp`, `rematerialize` (or `rematerialize:roi`, ...), `checkpoint` (or
`checkpoint:backbone`, ...), `lora`, `dora`, `ssf` or `peft` (what the config's own `peft` says),
and `ddp`, `fsdp2`, `zero2` or `zero3`; `none` is none of these, whatever the config says, and
`config` the config as it is."""
_LEAST = dict(batch=1, processes=1, iterations=1, warm_up=1, threads=1, size=32)


@dataclass
class Table:
    """A table of recipes that is to be made.

    Args:
        cfg (Config): The config, changed by ``--cfg-options``.
        recipes (list[Recipe]): Its rows.
        setting (Setting): What is the same for all of them.
        model (Model): What recipes have to know of the model.
        report (dict): What is written of it; the rows are missing.
        console (Console): Where it is printed.
    """

    cfg: Config
    recipes: list[Recipe]
    setting: Setting
    model: Model
    report: dict
    console: Console

    def __post_init__(self) -> None:
        self._start = time.perf_counter()

    def say(self, line: str) -> None:
        """Print a line on the progress."""
        self.console.print(
            f'[{time.perf_counter() - self._start:6.1f} s] {line}', style='dim', markup=False
        )


def add_arguments(parser: argparse.ArgumentParser, recipes_needed: bool) -> None:
    """Add the arguments.

    Args:
        parser (argparse.ArgumentParser): The parser.
        recipes_needed (bool): Whether recipes have to be named.
    """
    add_config(parser)
    parser.add_argument(
        '--recipes',
        nargs='+',
        metavar='RECIPE',
        required=recipes_needed,
        help='the rows' + ('' if recipes_needed else '; all there are by default'),
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help="of the images; the largest of the config's pipeline by default",
    )
    parser.add_argument('--batch', type=int, help="images of a process; the config's by default")
    parser.add_argument('--processes', type=int, default=1, help='1 by default')
    parser.add_argument('--out', metavar='FILE.md', help='write the table as Markdown')
    parser.add_argument('--json', metavar='FILE.json', help='write everything, in bytes and s')
    add_force(parser)


def read_table(
    args: argparse.Namespace,
    device: str = 'cpu',
    iterations: int = 1,
    warm_up: int = 1,
    threads: int | None = None,
) -> Table:
    """Return the table that arguments ask for.

    Args:
        args (argparse.Namespace): The arguments.
        device (str): Where it is measured. Defaults to 'cpu'.
        iterations (int): How many are timed. Defaults to 1.
        warm_up (int): How many are dropped before. Defaults to 1.
        threads (int, optional): Of a process on a CPU. Defaults to None.

    Raises:
        UserError: An argument is wrong, or does not fit the config.
    """
    for name, least in _LEAST.items():
        value = getattr(args, name, None)
        for one in (value or ()) if name == 'size' else [value]:
            if one is not None:
                check_count(f'--{name.replace("_", "-")}', one, least)
    refuse_existing(args.force, args.out, args.json)
    # Of the packages that models are built with, over and over; a training says them.
    warnings.simplefilter('ignore')
    recipes = [parse_recipe(name) for name in args.recipes or ()]
    MMLogger.get_instance('memory', log_level='ERROR')  # what models say while they are built
    cfg = load_config(args.config, args.cfg_options)
    for key in ('train_dataloader', 'optim_wrapper'):
        if not cfg.get(key):
            raise UserError(f'{args.config}: there is no {key}, so that nothing can be trained')
    batch = args.batch or cfg.train_dataloader.get('batch_size')
    if batch is None:
        raise UserError(
            f'{args.config}: train_dataloader has no batch_size; say with --batch '
            'how many images a process has'
        )
    recipes = recipes or default_recipes(args.processes, cfg.get('peft') is not None)
    setting = Setting(
        args.config,
        args.cfg_options or {},
        _size_of(cfg, args),
        batch,
        args.processes,
        iterations,
        warm_up,
        device,
        threads,
    )
    model = describe(cfg)
    for recipe in recipes:
        keys_of(recipe, cfg, model)  # now, not after an hour
    report = dict(
        about(shlex.join(typed_words()), torch.device(device), SEED),
        config=args.config,
        size=setting.size,
        batch=batch,
        processes=args.processes,
        device_type=device,
    )
    console = Console(width=None if Console().is_terminal else 250, highlight=False)
    return Table(cfg, recipes, setting, model, report, console)


def _size_of(cfg: Config, args: argparse.Namespace) -> tuple[int, int]:
    """Return the height and width of the images, as the data preprocessor pads them."""
    size = (
        image_size(cfg)
        if args.size is None
        else padded(args.size, cfg.model.get('data_preprocessor'))
    )
    if size is None:
        raise UserError(
            f'{args.config}: the pipeline of train_dataloader says no size; say with '
            '--size HEIGHT WIDTH how large its images are'
        )
    return size
