"""Why a data set is empty, of whatever library it is.

MMEngine stops at it with "need at least one array to concatenate", which names neither the file nor
the filter. What is known of COCO files is checked before; here the built data set itself is asked.
"""

import traceback

from mmengine.dataset import BaseDataset

from ..errors import UserError


def nothing_left(error: BaseException) -> UserError | None:
    """Explain an error that MMEngine raises because no sample is left.

    Args:
        error (BaseException): What a run ended with.

    Returns:
        UserError | None: One line with the number that each filter removes; None where the error
        is another one.
    """
    behind: BaseException | None = error
    while behind is not None:
        for frame, _ in traceback.walk_tb(behind.__traceback__):
            if frame.f_code is BaseDataset._serialize_data.__code__:
                dataset = frame.f_locals['self']
                if not dataset.data_list:
                    return UserError(_explain(dataset))
        behind = behind.__cause__ or behind.__context__
    return None


def _explain(dataset: BaseDataset) -> str:
    source = dataset.ann_file or ', '.join(map(str, dataset.data_prefix.values()))
    what = f'nothing is left of the data set {type(dataset).__name__} ({source})'
    filters = dict(dataset.filter_cfg or {})
    samples = list(dataset.load_data_list())
    if not samples:
        return f'{what}: it lists nothing'
    does = []
    for key, value in filters.items():
        dataset.filter_cfg, dataset.data_list = {key: value}, list(samples)
        removed = len(samples) - len(dataset.filter_data())
        if removed:
            does.append(f'{key}={value!r} removes {removed:,}')
    return f'{what}, which lists {len(samples):,}: ' + (
        f'filter_cfg, {" and ".join(does)}'
        if does
        else f'indices={dataset._indices!r} chooses none of them'
    )
