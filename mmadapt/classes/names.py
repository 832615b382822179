"""What the classes are called in a checkpoint, a data set and a config.

Names are kept by kind, each list in the order of a model's outputs: ``classes``, of which some data
sets call some ``things`` and some ``stuff``, and the ``keypoints`` of poses.
"""

import os.path as osp
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from ..datasets.checks import metainfo_of
from ..files import KEY

Names = dict[str, list[str]]
_KEYS = dict(classes=('classes', 'CLASSES'), things=('thing_classes',), stuff=('stuff_classes',))
_STOCK = osp.join('.mim', 'configs')


def names_in(metainfo: Mapping | None) -> Names:
    """Return the names in the meta information of a data set.

    Args:
        metainfo (Mapping, optional): ``dataset.metainfo``, or the ``dataset_meta`` of a checkpoint.

    Returns:
        Names: Empty where it has none. What ``num_classes`` counts are the things, or all classes
        where nothing tells them from stuff.
    """
    metainfo = metainfo or {}
    keypoints = metainfo.get('keypoint_id2name')
    if isinstance(keypoints, Mapping) and keypoints:
        by_number = {int(number): str(name) for number, name in keypoints.items()}
        # What such data sets have as classes are entries of their file.
        return dict(keypoints=[by_number[number] for number in sorted(by_number)])
    found = {}
    for kind, keys in _KEYS.items():
        names = next((metainfo[key] for key in keys if metainfo.get(key) is not None), None)
        if names is not None and not isinstance(names, str) and len(names):
            found[kind] = [str(name) for name in names]
    if 'classes' in found:
        found.setdefault('things', found['classes'])
    return found


def names_of_checkpoint(checkpoint: Mapping) -> Names:
    """Return the names that a checkpoint says its model predicts; no text in it is run.

    Args:
        checkpoint (Mapping): What was read: of MMEngine, of versions before it, or of this package.
    """
    meta = checkpoint.get('meta')
    meta = meta if isinstance(meta, Mapping) else {}
    names = names_in(meta.get('dataset_meta')) or names_in(dict(classes=meta.get('CLASSES')))
    record = checkpoint.get(KEY)
    return names or names_of_record(record if isinstance(record, Mapping) else {})


def names_of_record(record: Mapping) -> Names:
    """Return the names in what a file with an adapter in it says of that.

    Args:
        record (Mapping): The result of :meth:`~mmadapt.files.AdapterRecord.to_dict`.
    """
    keypoints = record.get('keypoint_names')
    if keypoints:
        return dict(keypoints=[str(name) for name in keypoints])
    return names_in(dict(classes=record.get('class_names')))


def names_of_run(runner) -> Names:
    """Return the names of the data that a run trains on.

    Args:
        runner (Runner): A runner whose train loop is built, or what stands for one before that.
    """
    loader: Any = getattr(runner, 'train_dataloader', None)
    dataset = getattr(loader, 'dataset', None)
    if dataset is None:
        return names_of_config(runner.cfg)
    return names_in(getattr(dataset, 'metainfo', None))


def names_of_config(cfg: Config) -> Names:
    """Return the names of the data that a config trains on, as far as it has them."""
    return names_in(metainfo_of(cfg, 'train'))


def usual_names(cfg: Config) -> Iterator[Names]:
    """Yield what a checkpoint may predict that does not say it.

    Args:
        cfg (Config): The config of the run that loads it.

    Yields:
        Names: Those of the stock configs that it inherits, the nearest first, and those that the
        type of its data set has of itself.
    """
    stock = [
        line
        for line in cfg.text.splitlines()  # names every file before its text
        if _STOCK in line and line.endswith('.py') and osp.isfile(line)
    ]
    for path in reversed(stock):  # those that it inherits itself stand before it
        inherited = Config.fromfile(path, import_custom_modules=False)
        if inherited.get('model'):  # and with it the scope that its data set's type is of
            yield names_of_config(inherited)
    yield names_in(metainfo_of(cfg, 'train', configured=False))
