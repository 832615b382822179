"""A plan: what each recipe needs, and the one to take."""

from collections.abc import Callable
from dataclasses import replace

from mmengine.config import Config

from .changes import Model, command_of, lines_of, strategy_of
from .needs import measure
from .plan import demand, recommend
from .recipes import Recipe
from .row import prepared
from .rows import Setting, row_for


def plan_rows(recipes: list[Recipe], setting: Setting, model: Model, memory: int,
              say: Callable[[str], None]) -> list[dict]:
    """Return the rows of a plan, in bytes.

    Args:
        recipes (list[Recipe]): The recipes.
        setting (Setting): What is the same for all of them.
        model (Model): What recipes have to know of the model.
        memory (int): What a card has, in bytes.
        say (callable): Takes lines on the progress.
    """
    measured, rows = {}, []
    for recipe in recipes:
        row = row_for(recipe, setting, model, '')
        alone = replace(recipe, name='', strategy=None)
        if alone not in measured:
            measured[alone] = measure(prepared(alone, row))
            saved = measured[alone].saved / 2**30
            say(f'{recipe.name}: followed on shapes, {saved:.2f} GiB saved for backward')
        needs = measured[alone]
        asked = demand(needs, *strategy_of(prepared(recipe, row)), setting.processes)
        rows.append(dict(
            recipe=recipe.name, changes=recipe.changes, saved_bytes=needs.saved,
            activation_bytes=asked.activations, weight_bytes=asked.weights,
            gradient_bytes=asked.gradients, optimizer_bytes=asked.optimizer,
            exchange_bytes=asked.exchange, total_bytes=asked.total, margin_bytes=asked.margin,
            fits=asked.total + asked.margin <= memory))
    return rows


def advice(rows: list[dict], recipes: list[Recipe], cfg: Config, model: Model,
           setting: Setting) -> dict | None:
    """Return the recipe to take, the lines of a config and the command; None where none fits."""
    best = recommend(rows)
    if best is None:
        return None
    recipe = next(r for r in recipes if r.name == best['recipe'])
    return dict(recipe=recipe.name, lines=lines_of(recipe, cfg, model),
                command=command_of(recipe, 'MY_CONFIG.py', setting.processes))
