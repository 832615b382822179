"""Look at images: with an adapter, with a base and several adapters on it, or with a merged model.

Examples:
    mmadapt predict work_dirs/face/best_adapter IMAGES/
    mmadapt predict work_dirs/face/adapter a.jpg --adapters none face=work_dirs/face/adapter
    mmadapt predict merged.py clip.mp4 --checkpoint merged.pth

Writes drawings, and what was seen as COCO results, to the folder that --out names.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import cv2
import mmcv
from mmengine.config import Config
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from ..cli import check_checkpoint, load_config
from ..cli.arguments import add_force, add_options, make_parser
from ..errors import UserError
from ..files import is_adapter
from ..inference import ImageResult, Inferencer
from ..inference.asked import check_adapters, nearest_adapter, parse_adapters
from ..inference.boxes import read_boxes
from ..inference.drawing import Drawing
from ..inference.results import Results
from ..inference.sources import Frame, Video, find_images, why_unreadable
from ..values import check_number


def parse_args(arguments: list[str]) -> argparse.Namespace:
    """Read what was typed behind the subcommand; ``--help`` and mistakes end the process."""
    parser = make_parser('predict', __doc__)
    parser.add_argument('model', help='an adapter folder, or a config')
    parser.add_argument('images', nargs='+', help='images, folders of images, videos')
    parser.add_argument(
        '--adapters',
        nargs='+',
        metavar='NAME=FOLDER',
        default=[],
        help='adapters on one base, by name; none is the base itself',
    )
    parser.add_argument(
        '--checkpoint',
        help='the weights: of the base, where there are adapters, else of the model; by default '
        'where the adapters say that their base is',
    )
    parser.add_argument('--out', default='predictions', help='folder; default: predictions')
    parser.add_argument(
        '--score-thr', type=float, default=0.3, help='what is less sure is not drawn; default: 0.3'
    )
    parser.add_argument(
        '--merge-iou',
        type=float,
        default=0.5,
        metavar='IOU',
        help='of two objects of one class, seen by two adapters, that overlap by more than this '
        'the surer one stays; default: 0.5',
    )
    parser.add_argument('--no-merge', action='store_true', help='keep both')
    parser.add_argument('--no-drawings', action='store_true', help='write only what was seen')
    parser.add_argument('--batch-size', type=int, default=1, help='images at once; default: 1')
    parser.add_argument(
        '--boxes',
        metavar='FILE',
        help='where objects are, for a pose model that looks into boxes: a COCO file, or the '
        'results.json of another run',
    )
    parser.add_argument(
        '--boxes-of',
        nargs='+',
        metavar='CLASS',
        default=[],
        help='names of the categories whose boxes --boxes takes; needed where it has several',
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...')
    add_options(parser)
    add_force(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the subcommand."""
    args = parse_args(arguments)
    check_number('--score-thr', args.score_thr, lambda value: 0 <= value <= 1, 'from 0 to 1')
    adapters = parse_adapters(args.adapters)
    check_adapters(adapters)
    if args.checkpoint:
        check_checkpoint(args.checkpoint)
    frames, videos = find_images(args.images)
    out = Path(args.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not args.force:
        raise UserError(f'{out} is there; --out names another folder, --force writes into this one')
    frames, unreadable = _readable(frames, bool(videos))
    if args.boxes and videos:
        raise UserError('--boxes names images, and none of its names is a frame of a video')
    if args.boxes_of and not args.boxes:
        raise UserError('--boxes-of says which boxes of a file are taken: name it with --boxes')
    names = [frame.name for frame in frames]
    boxes = read_boxes(args.boxes, args.score_thr, names, args.boxes_of) if args.boxes else None
    inferencer = Inferencer(
        _source(args, adapters),
        adapters,
        args.checkpoint,
        args.device,
        None if args.no_merge else args.merge_iou,
        args.batch_size,
    )
    if boxes is not None and not inferencer.in_boxes:
        raise UserError('--boxes: this model finds objects by itself')
    results = Results(inferencer, out)
    drawing = None if args.no_drawings else Drawing(inferencer, args.score_thr)
    console, broken = Console(), dict[str, str]()
    try:
        with Progress(console=console) as progress:
            if frames:
                seen = inferencer(frames, boxes)
                for result in progress.track(seen, len(frames), description='images'):
                    results.add(result)
                    if drawing is not None:
                        file = out / 'drawings' / result.frame.drawing
                        mmcv.imwrite(drawing(result), str(file))
            for video in videos:
                seen = inferencer(video)
                tracked = progress.track(seen, video.frames or None, description=video.name)
                count = _run_video(video, tracked, results, drawing, out)
                why = video.why_short(count)
                if why is not None:
                    broken[video.path] = why
    finally:
        written = results.write() if len(results) else []  # of a run that is stopped too
    shown = [] if drawing is None else [str(out / 'drawings')]
    console.print(escape(f'{len(results)} images: {", ".join([*written, *shown])}'), soft_wrap=True)
    for path, why in unreadable.items():
        console.print(escape(f'not read: {path}: {why}'), style='red', soft_wrap=True)
    for path, why in broken.items():
        console.print(escape(f'not read to its end: {path}: it {why}'), style='red', soft_wrap=True)
    return 1 if unreadable or broken else 0


def _source(args: argparse.Namespace, adapters: dict[str, str]) -> str | Config:
    """Return the adapter folder or the config that the model is built from."""
    if is_adapter(args.model):
        if args.cfg_options:
            raise UserError(f'--cfg-options change a config, and {args.model} is an adapter folder')
        return args.model
    near = '' if Path(args.model).is_file() else nearest_adapter(args.model)
    named = Path(args.model).suffix or '::' in args.model  # as configs are
    if not Path(args.model).exists() and (near or not named):
        raise UserError(f'there is no adapter folder and no config {args.model}{near}')
    if Path(args.model).is_dir():
        raise UserError(f'{args.model} is neither an adapter folder nor a config{near}')
    cfg = load_config(args.model, args.cfg_options)
    own = (cfg.get('peft') or {}).get('adapter')
    if own and not adapters:
        adapters['adapter'] = own
    return cfg


def _readable(frames: list[Frame], videos: bool) -> tuple[list[Frame], dict[str, str]]:
    """Leave out the images that cannot be read, of which there may not be all."""
    reasons = {frame.path: why_unreadable(frame.path) for frame in frames}
    unreadable = {path: why for path, why in reasons.items() if why}
    left = [frame for frame in frames if frame.path not in unreadable]
    if unreadable and not left and not videos:
        path, why = next(iter(unreadable.items()))
        raise UserError(f'{path} cannot be read: {why}')
    return left, unreadable


def _run_video(
    video: Video,
    found: Iterable[ImageResult],
    results: Results,
    drawing: Drawing | None,
    out: Path,
) -> int:
    """Look at the frames of a video, and draw another one; return how many there were."""
    writer, count = None, 0
    try:
        for result in found:
            results.add(result)
            count += 1
            if drawing is not None:
                image = drawing(result)
                if writer is None:
                    path = out / 'drawings' / f'{video.name}.mp4'
                    path.parent.mkdir(parents=True, exist_ok=True)
                    size = (image.shape[1], image.shape[0])
                    code = cv2.VideoWriter.fourcc(*'mp4v')
                    writer = cv2.VideoWriter(str(path), code, video.rate, size)
                    if not writer.isOpened():
                        raise UserError(f'OpenCV cannot write {path}: --no-drawings goes without')
                writer.write(image)
    finally:
        if writer is not None:
            writer.release()
    return count
