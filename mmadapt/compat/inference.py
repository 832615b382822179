"""``init_detector``, ``DetInferencer`` and their like, given a checkpoint of a training with peft.

They build a model from a config and load a checkpoint into it by MMEngine's
``_load_checkpoint_to_model``, the one place that has both and that nothing can be registered at. A
checkpoint that holds only what was trained is completed there from the base that it names. A runner
keeps the stock function: it has built its optimizer from the model by then, and PEFTInjectHook has
completed the checkpoint before, or it is refused.
"""

import functools
import sys

from mmengine.runner import checkpoint as stock

_NAME = '_load_checkpoint_to_model'
_RUNNERS = ('mmengine.runner.runner',)


def complete_for_inference() -> None:
    """Let whatever loads a checkpoint into a model outside a runner complete it."""
    load = getattr(stock, _NAME)
    if hasattr(load, '__wrapped__'):
        return
    completing = _completing(load)
    # Modules that are imported already have it under a name of their own; this package may be
    # imported by the very config that an inferencer is reading.
    for name, module in [*sys.modules.items()]:
        if name not in _RUNNERS and getattr(module, '__dict__', {}).get(_NAME) is load:
            setattr(module, _NAME, completing)


def _completing(load):
    @functools.wraps(load)
    def load_completing(
        model, checkpoint, strict=False, logger=None, revise_keys=((r'^module\.', ''),)
    ):
        from ..files import TrainedPart, complete

        part = checkpoint.get('state_dict') if isinstance(checkpoint, dict) else None
        if (
            isinstance(part, TrainedPart)
            and _is_whole_model(model, part.source)
            and [*revise_keys] == [(r'^module\.', '')]
        ):
            complete(model, part)
            return checkpoint
        return load(model, checkpoint, strict, logger, revise_keys)

    return load_completing


def _is_whole_model(model, source: str) -> bool:
    """Return whether this is not the initialization by ``init_cfg``, which a runner does too."""
    configs = getattr(model, 'init_cfg', None) or []
    configs = configs if isinstance(configs, (list, tuple)) else [configs]
    return all(cfg.get('checkpoint') != source for cfg in configs)
