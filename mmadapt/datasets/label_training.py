"""What MMSegmentation will train on and evaluate: files it leaves out, and values of label maps."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from ..errors import UserError
from ..logs import warn
from ..type_names import type_name
from .file_checks import complete_path, dataset_class, leaf_datasets
from .image_checks import IMAGE_SUFFIXES
from .label_layout import files_below, image_files
from .label_map_checks import check_label_maps
from .label_maps import IGNORED, read_label_maps
from .label_pairs import check_sizes
from .library_classes import argument, keeps, library_class, raise_first_error, spread
from .problems import Problems
from .seen_images import look_at_images

MOST_MAPS = 64
"""How many label maps of a data set are looked at before a training."""


def check_label_data(cfg: Config, loops: Sequence[str], classes_of) -> None:
    """Refuse label maps of which MMSegmentation would learn something else than is meant.

    Args:
        cfg (Config): The whole config.
        loops (Sequence[str]): Among 'train', 'val' and 'test'.
        classes_of (Callable): Gives a data set's classes from its class, its config and its place.

    Raises:
        UserError: One line that names the file, how much of it is at fault, and the remedy.
    """
    scope = cfg.get('default_scope') or 'mmdet'
    seen = set()
    for loop in loops:
        dataset = (cfg.get(f'{loop}_dataloader') or {}).get('dataset')
        for place, leaf in leaf_datasets(dataset, f'{loop}_dataloader.dataset'):
            cls = dataset_class(leaf, scope)
            base = library_class(cls, 'mmseg', 'BaseSegDataset')
            if cls is None or not keeps(cls, base, 'load_data_list'):
                continue
            classes = classes_of(cls, leaf, place)
            label_map = _label_map(cls, classes, place, loop)
            names = classes or _names_by_head(cfg)
            key = str((leaf.get('data_prefix'), leaf.get('ann_file'), leaf.get('data_root'), names))
            if key not in seen:
                seen.add(key)
                _check_leaf(cls, leaf, place, names, label_map, loop == 'train')
    for place, head in _decode_heads(cfg.get('model') or {}):
        _check_one_channel(head, place)


def _names_by_head(cfg: Config) -> tuple[str, ...]:
    """Return names for the classes of the first head, where the data set has none."""
    counts = [head.get('num_classes') or 0 for _, head in _decode_heads(cfg.get('model') or {})]
    return tuple(f'class {index}' for index in range(counts[0] if counts else 0))


def _label_map(cls, classes, place: str, loop: str) -> Mapping[int, int] | None:
    """Return what a data set with classes of its own makes of them; say which are ignored."""
    own = cls.METAINFO.get('classes') or ()
    if not own or not classes or [*own] == [*classes]:
        return None
    unknown = [name for name in classes if name not in own]
    if unknown:
        raise UserError(
            f'{place}.metainfo.classes has {unknown[0]!r}, which {cls.__name__} has not: it takes '
            f'a part of its own classes ({", ".join(own[:5])}, ...); for others write '
            "type='BaseSegDataset'"
        )
    lost = [name for name in own if name not in classes]
    if lost and loop == 'train':
        names = ', '.join(lost[:5]) + ', ...' * (len(lost) > 5)
        warn(
            f'{place}.metainfo.classes leaves out {names}: '
            'their pixels become 255, which is ignored and never background'
        )
    return cls.get_label_map([*classes])


def _steps(leaf: dict) -> Iterator[tuple[str, dict]]:
    """Yield the steps of a data set's pipeline."""
    for index, step in enumerate(leaf.get('pipeline') or ()):
        if isinstance(step, dict):
            yield f'pipeline.{index}', step


def _check_leaf(cls, leaf: dict, place: str, classes, label_map, trains: bool) -> None:
    """Check the files of one data set."""
    prefix = leaf.get('data_prefix') or {}
    image_dir = complete_path(leaf, prefix.get('img_path') or '')
    map_dir = complete_path(leaf, prefix.get('seg_map_path') or '')
    said = leaf.get('data_root') or prefix.get('img_path')
    if not said or image_dir is None or not image_dir.is_dir():
        return
    suffix = argument(cls, leaf, 'img_suffix')
    ends = argument(cls, leaf, 'seg_map_suffix')
    stems = _listed(leaf)
    if stems is None:
        stems = _found(image_dir, suffix, ends, place)
    steps = [(at, s) for at, s in _steps(leaf) if type_name(s.get('type')) == 'LoadAnnotations']
    reduced = bool(argument(cls, leaf, 'reduce_zero_label'))
    for at, step in steps:
        if step.get('reduce_zero_label') not in (None, reduced):
            raise UserError(
                f'{place}.{at}.reduce_zero_label={step["reduce_zero_label"]}, but the data set has '
                f'{reduced}: the first step of a run would end with an AssertionError; leave it '
                'out of LoadAnnotations'
            )
    if not steps or map_dir is None or not map_dir.is_dir() or not prefix.get('seg_map_path'):
        return
    pairs = {image_dir / f'{stem}{suffix}': map_dir / f'{stem}{ends}' for stem in stems}
    lost = [path for path in pairs.values() if not path.is_file()]
    if lost:
        holds = Counter(os.path.splitext(name)[1] for name in image_files(map_dir))
        raise UserError(
            f'{place}: {len(lost):,} of {len(pairs):,} images have no label map, for instance '
            f'{lost[0]} (seg_map_suffix={ends!r}); {map_dir} holds '
            f'{", ".join(f"{count:,} {end}" for end, count in holds.items()) or "none"}'
        )
    images = spread([*pairs], MOST_MAPS)
    maps = read_label_maps([pairs[image] for image in images])
    problems, file = Problems(), f'{map_dir}{os.sep}'
    looked = f'{len(maps):,} of {len(pairs):,} label maps'
    for at, step in steps:
        if step.get('imdecode_backend') == 'cv2' and any(each.palette for each in maps):
            raise UserError(
                f"{place}.{at}.imdecode_backend='cv2' loads the colors of a palette, not its "
                f'numbers, and {file} has maps with one: leave it out'
            )
    check_sizes(
        dict(zip(images, maps, strict=True)),
        look_at_images({place: images}, problems),
        file,
        problems,
    )
    labels = Counter[int]()
    if len(classes) > 1:
        labels = check_label_maps(
            maps,
            classes,
            file,
            problems,
            trains=trains,
            reduce_zero_label=reduced,
            label_map=label_map,
        )
    raise_first_error(problems, place, looked)
    if set(labels) == {IGNORED}:
        effect = 'nothing would be learned' if trains else 'every IoU would be nan'
        remedy = 'export the numbers of the classes, from 0'
        if len(maps) == len(pairs):
            raise UserError(f'{place}: all pixels in {file} are ignored: {effect}; {remedy}')
        warn(
            f'{place}: all pixels of {looked} in {file} are ignored; if the others are so too, '
            f'{effect}: {remedy}'
        )
    for kind in sorted(problems.kinds('warning'), key=lambda kind: kind.title):
        details = problems.found[file].get(kind, [])
        if details:
            found = ', '.join(details[:5])
            warn(f'{place}: {kind.title}, looking at {looked}: {found}; {kind.remedy}')


def _listed(leaf: dict) -> list[str] | None:
    """Return the names of images that an ``ann_file`` lists; None without one."""
    path = complete_path(leaf, leaf.get('ann_file') or '') if leaf.get('ann_file') else None
    if path is None or not path.is_file():
        return None
    return [line.strip() for line in path.read_text(encoding='utf-8').splitlines()]


def _found(image_dir: Path, suffix: str, ends: str, place: str) -> list[str]:
    """Return the names of images that a data set takes; say which it leaves out."""
    names = sorted(files_below(image_dir))
    taken = [name for name in names if name.endswith(suffix)]
    others = Counter(
        os.path.splitext(name)[1]
        for name in names
        if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
        and not name.endswith((suffix, ends) if ends else suffix)
    )
    if not taken and ends and any(name.endswith(ends) for name in names):
        others[ends] = sum(name.endswith(ends) for name in names)
    listed = ', '.join(f'{count:,} {end}' for end, count in others.most_common())
    if not taken:
        near = f'write img_suffix={others.most_common(1)[0][0]!r}' if others else 'put images there'
        raise UserError(
            f'{place}.img_suffix={suffix!r}: no file in {image_dir} ends so; it holds '
            f'{listed or "no images"}: {near}'
        )
    if others:
        warn(
            f'{place}.img_suffix={suffix!r} leaves out {listed} of {image_dir}, beside '
            f'{len(taken):,} that end so: give all images one suffix'
        )
    return [name[: -len(suffix)] for name in taken]


def _decode_heads(model: dict) -> Iterator[tuple[str, dict]]:
    """Yield the heads of a segmentation model."""
    for key in ('decode_head', 'auxiliary_head'):
        heads = model.get(key) or ()
        for index, head in enumerate([heads] if isinstance(heads, dict) else heads):
            yield f'model.{key}' + f'.{index}' * (not isinstance(heads, dict)), head


def _check_one_channel(head: dict, place: str) -> None:
    """Refuse a softmax over one channel."""
    if 1 not in (head.get('num_classes'), head.get('out_channels')):
        return
    losses = head.get('loss_decode') or dict(type='CrossEntropyLoss')
    for loss in [losses] if isinstance(losses, dict) else losses:
        if type_name(loss.get('type')) == 'CrossEntropyLoss' and not loss.get('use_sigmoid'):
            raise UserError(
                f'{place} has one channel and a softmax loss, which learns nothing or ends with an '
                f'IndexError: write {place}.num_classes=2, with background as a class, and no '
                'out_channels; or num_classes=2, out_channels=1 and loss_decode.use_sigmoid=True'
            )
