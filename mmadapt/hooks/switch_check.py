"""Hooks that change the data's transforms in mid-run, and data sets that they cannot change."""

from collections.abc import Iterable

from mmengine.hooks import Hook
from torch import nn

from ..errors import UserError
from ..logs import warn


def check_switches(model: nn.Module, dataset, hooks: Iterable[Hook], epochs: int) -> None:
    """Check that each hook that switches transforms off, or others on, can do so.

    MMDetection's YOLOXModeSwitchHook fails late on a data set that mixes no images, and its
    PipelineSwitchHook sets an attribute that a data set around another one never reads.

    Args:
        model (nn.Module): The model, not wrapped.
        dataset (Dataset): The training's data set, built.
        hooks (Iterable[Hook]): The hooks of the run.
        epochs (int): The length of the run.

    Raises:
        UserError: A hook would end the run by an error when its epoch comes.
    """
    kind = type(dataset).__name__
    for hook in hooks:
        name = type(hook).__name__
        if hasattr(hook, 'skip_type_keys'):
            if not hasattr(dataset, 'update_skip_type_keys'):
                raise UserError(
                    f'custom_hooks holds {name}, which switches transforms of a '
                    f'MultiImageMixDataset off, and train_dataloader.dataset is a {kind}: leave '
                    'the hook out, or train with such a data set: dataset=dict(type='
                    f"'MultiImageMixDataset', dataset=dict(type='{kind}', ..., pipeline=[what "
                    'loads]), pipeline=[the rest])'
                )
            if not any(hasattr(model, part) for part in ('bbox_head', 'detector')):
                raise UserError(
                    f'custom_hooks holds {name}, which sets bbox_head.use_l1 of a '
                    f'YOLOX, and a {type(model).__name__} has no bbox_head: leave the '
                    'hook out'
                )
        pipeline = getattr(hook, 'switch_pipeline', None)
        if pipeline is None or getattr(hook, 'switch_epoch', 0) >= epochs:
            continue
        if not hasattr(dataset, 'pipeline'):
            warn(
                f'{name} does nothing to a {kind}, which has no pipeline of its own: the data '
                'sets within it keep theirs to the end of the run; leave the hook out'
            )
        elif len(pipeline) > len(getattr(dataset, 'pipeline_types', pipeline)):
            raise UserError(
                f'{name}: a {kind} goes through as many transforms as it was built with, '
                f'{len(dataset.pipeline_types)}, and switch_pipeline has {len(pipeline)}: the last '
                "ones would be left out; use YOLOXModeSwitchHook, or another data set's type"
            )
