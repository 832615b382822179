"""Whether what is going to be frozen has pretrained weights at all, and those of this model."""

import os.path as osp
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from ..adapters import adapted_class
from ..config_model import build_again
from ..errors import UserError
from ..files import BaseRecord
from ..files.built_in import built_in_keys, changed
from ..logs import say, warn
from ..peft import PEFTConfig
from ..peft.heads import find_heads
from ..random_state import get_random_state, set_random_state
from ..runs import resumes


def check_base_is_read(config: PEFTConfig, load_from: str | None) -> None:
    """Refuse a ``peft.base`` that a training which begins anew would not read.

    Args:
        config (PEFTConfig): The value of ``peft``.
        load_from (str, optional): What the training begins with.

    Raises:
        UserError: It is set, and to something else.
    """
    places = [
        place if '://' in place else osp.realpath(place)
        for place in (config.base, load_from)
        if place is not None
    ]
    if config.base is not None and (load_from is None or places[0] != places[1]):
        raise UserError(
            f'peft.base={config.base}: it says where the base of a checkpoint or an '
            f'adapter is now; this training begins with load_from={load_from} and '
            'does not read it: leave it out, or set load_from to it'
        )


def find_built_in(runner, model: nn.Module, base: BaseRecord) -> None:
    """Note in the record of a base which weights its model has had since it was built.

    Only where layers of its body seem to have none: the model is built once more for it.

    Args:
        runner (Runner): A runner in training.
        model (nn.Module): Its model, not yet initialized nor adapted.
        base (BaseRecord): What files provide.

    Raises:
        UserError: There are such weights, in the first process alone.
    """
    missing = set(base.not_in_base)
    heads = tuple(f'{name}.' for name in find_heads(model))
    layers = [
        name
        for name, module in model.named_modules()
        if f'{name}.weight'.lstrip('.') in missing
        and not f'{name}.'.startswith(heads)
        and adapted_class(module) is not None
    ]
    if (
        not layers
        or not isinstance(runner.cfg.get('model'), Mapping)
        or any(p.is_meta for p in model.parameters())
    ):
        return

    def build() -> nn.Module:
        state = get_random_state()
        seed = (torch.initial_seed() + 1) % 2**32
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)
        try:
            return build_again(runner.cfg)
        finally:
            set_random_state(state)

    keys = built_in_keys(model, missing, build)
    if keys and getattr(getattr(runner, 'strategy', None), 'first_has_weights', False):
        raise UserError(
            'strategy.meta_init=True: this model has pretrained weights as soon as it '
            'is built, in the first process alone; write meta_init=False'
        )
    base.built_in, base.not_in_base = sorted(keys), sorted(missing - keys)


def check_still_built_in(model: nn.Module, before: Mapping[str, str]) -> None:
    """Check that initializing a model has left the weights alone that it was built with.

    Args:
        model (nn.Module): The model, adapted.
        before (Mapping[str, str]): Their digests, from before.

    Raises:
        UserError: It has not: what is to be kept frozen is random.
    """
    lost = changed(model, before)
    if not lost:
        return
    place = lost[0].rpartition('.')[0]
    while place and not callable(getattr(model.get_submodule(place), 'init_weights', None)):
        place = place.rpartition('.')[0]
    raise UserError(
        f'{len(lost)} of the {len(before)} pretrained tensors that the model is built with, the '
        f'first of them {lost[0]}, are drawn anew by init_weights, which MMEngine calls before a '
        f"training; write `self.{place or '...'}.is_init = True` into the model's constructor, "
        'behind where they are loaded, or set load_from'
    )


def check_base(runner, model: nn.Module, base: BaseRecord, config: PEFTConfig) -> bool:
    """Return whether there are base weights, and say how many of the model's there are.

    Args:
        runner (Runner): A runner in training.
        model (nn.Module): Its model, before it is adapted.
        base (BaseRecord): What its checkpoint provides.
        config (PEFTConfig): The value of ``peft``.

    Returns:
        bool: False if nothing was loaded and that is what the config asks for.

    Raises:
        UserError: There are none, something would be frozen, and that was not asked for; or they
            are those of another model.
    """
    keys = [key for key in model.state_dict() if not key.endswith('num_batches_tracked')]
    loaded = len(keys) - len(base.not_in_base)
    if base.load_from or base.pretrained or base.built_in:
        say(
            f'pretrained weights for {loaded} of {len(keys)} tensors of the model'
            + (f', {len(base.built_in)} of which it is built with' if base.built_in else '')
        )
    if resumes(runner) and loaded:
        warn(
            f'--resume found no checkpoint in {runner.work_dir} and has cleared load_from: what '
            'is not pretrained trains from the start'
        )
    if loaded:
        _check_body(model, keys, base, config)
    if loaded or (config.method is None and config.targets == 'all'):
        return loaded > 0
    if not config.allow_random_base:
        why = (
            f'{base.load_from} has none of its weights'
            if base.load_from
            else (
                '--resume found no checkpoint and has cleared load_from: run without it'
                if resumes(runner)
                else 'set load_from'
            )
        )
        # Codes of a random base are in no checkpoint, so there it cannot be meant.
        meant = (
            '' if config.quant is not None else '. (peft.allow_random_base=True if that is meant)'
        )
        raise UserError(
            f'the frozen base of this {type(model).__name__} would be random: {why}{meant}'
        )
    if config.quant is not None:
        raise UserError(
            'peft.quant needs a base that a file provides: from quantized weights no '
            'checkpoint could restore a random one; set load_from'
        )
    warn(
        'the frozen base is random, as peft.allow_random_base says; no file provides it, so every '
        'checkpoint holds the whole model'
    )
    return False


def _check_body(model: nn.Module, keys, base: BaseRecord, config: PEFTConfig) -> None:
    """Notice a checkpoint that is of another model."""
    heads, not_in_base = find_heads(model), set(base.not_in_base)
    body = [key for key in keys if not key.startswith(tuple(f'{name}.' for name in heads))]
    lacking = [key for key in body if key in not_in_base]
    if not lacking:
        return
    what = (
        f'{base.load_from or "what is pretrained"} has no fitting weight for '
        f'{len(lacking)} of {len(body)} tensors outside the head, first {lacking[0]}'
    )
    if base.load_from and 2 * len(lacking) > len(body) and not config.allow_random_base:
        raise UserError(
            f'{what}: it is the checkpoint of another model. '
            '(peft.allow_random_base=True if that is meant)'
        )
    warn(f'{what}; their layers train fully')
