"""A plan: what each recipe needs, and the one to take."""

from collections.abc import Callable
from dataclasses import replace

from mmengine.config import Config

from ..cli import load_config
from ..errors import UserError
from ..recipes.changes import Model, apply, command_of, written
from ..recipes.images import hint
from ..recipes.recipe import SHARDING, Recipe
from ..recipes.run import Setting, prepared, row_for
from ..recipes.strategies import strategy_of, why_not, why_not_built
from .demand import demand, recommend
from .lines import lines_of
from .needs import Needs, measure


def plan_rows(
    recipes: list[Recipe], setting: Setting, model: Model, memory: int, say: Callable[[str], None]
) -> list[dict]:
    """Return the rows of a plan, in bytes.

    Args:
        recipes (list[Recipe]): The recipes.
        setting (Setting): What is the same for all of them.
        model (Model): What recipes have to know of the model.
        memory (int): What a card has, in bytes.
        say (callable): Takes lines on the progress.

    Raises:
        UserError: The config's own strategy is unknown or has a wrong setting.
    """
    measured, rows = {}, []
    runs = [prepared(recipe, row_for(recipe, setting, model, '')) for recipe in recipes]
    # Of whole trainings, with their hooks and schedules; now, not after minutes.
    config = load_config(setting.config, setting.options)
    trainings = [apply(recipe, config, model) for recipe in recipes]
    reasons = [why_not(cfg, setting.processes) for cfg in trainings]
    for recipe, cfg, training, reason in zip(recipes, runs, trainings, reasons, strict=True):
        alone = replace(recipe, name='', strategy=None)
        if recipe.strategy in SHARDING:
            alone = replace(alone, rematerialize=())
        if alone not in measured:
            cfg_alone = prepared(alone, row_for(alone, setting, model, ''))
            measured[alone] = _measured(cfg_alone, setting)
            saved = measured[alone].saved / 2**30
            say(f'{recipe.name}: followed on shapes, {saved:.2f} GiB saved for backward')
        needs = measured[alone]
        reason = reason or why_not_built(training, needs.scalars)
        asked = demand(needs, *strategy_of(cfg), setting.processes)
        rows.append(
            dict(
                recipe=recipe.name,
                tuning=recipe.tuning,
                changes=recipe.changes,
                saved_bytes=needs.saved,
                activation_bytes=asked.activations,
                weight_bytes=asked.weights,
                gradient_bytes=asked.gradients,
                optimizer_bytes=asked.optimizer,
                exchange_bytes=asked.exchange,
                total_bytes=asked.total,
                margin_bytes=asked.margin,
                fits=not reason and asked.total + asked.margin <= memory,
                reason=reason,
            )
        )
    return rows


def _measured(cfg: Config, setting: Setting) -> Needs:
    try:
        return measure(cfg)
    except RuntimeError as error:
        way_out = hint(setting.size, error)
        if not way_out:
            raise
        reason = str(error).strip().splitlines()[0]
        raise UserError(f'{setting.config}: {reason}{way_out}') from error


def advice(
    rows: list[dict],
    recipes: list[Recipe],
    cfg: Config,
    model: Model,
    setting: Setting,
    inherited: Config,
) -> dict | None:
    """Return the recipe to take, the lines of a config and the command; None where none fits.

    Args:
        rows (list[dict]): The rows of a plan.
        recipes (list[Recipe]): Their recipes.
        cfg (Config): The config, changed by ``--cfg-options``.
        model (Model): What recipes have to know of its model.
        setting (Setting): What is the same for all recipes.
        inherited (Config): The config without ``--cfg-options``, which the lines are added to.
    """
    best = recommend(rows)
    if best is None:
        return None
    recipe = next(r for r in recipes if r.name == best['recipe'])
    wanted = written(recipe, cfg, model)
    wanted.train_dataloader.batch_size = setting.batch
    lines = lines_of(wanted, inherited)
    return dict(
        recipe=recipe.name,
        lines=lines,
        command=command_of(recipe, 'MY_CONFIG.py' if lines else setting.config, setting.processes),
    )
