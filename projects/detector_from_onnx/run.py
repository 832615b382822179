"""Adapts a detector out of an ONNX file to images and classes of your own, with MMDetection.

python projects/detector_from_onnx/run.py --data FOLDER
"""

import argparse
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402

import mmadapt  # noqa: E402
from projects.detector_from_onnx import weights  # noqa: E402
from projects.face_demo import steps  # noqa: E402
from projects.methods_compared.training import Training, config_of, train  # noqa: E402
from projects.methods_compared.training import mmadapt as command  # noqa: E402

PEFT = dict(
    method=dict(type='LoRA', r=16, alpha=16, dropout=0.0),
    targets='auto',
    head='train',
    norm='freeze',
    # The file has the BatchNorms of the head within its convolutions too. What is left of them is
    # the identity, with statistics of nothing: in a training they would take those of each batch.
    exclude=[dict(type='BatchNorm2d')],
)
_LOOKED_AT = 8  # validation images


def parse_args() -> argparse.Namespace:
    """Reads what was typed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--data',
        required=True,
        type=Path,
        help='boxes in a format of `mmadapt dataset`, with a validation split',
    )
    parser.add_argument('--work', type=Path, default=steps.ROOT / 'work_dirs/detector_from_onnx')
    parser.add_argument('--steps', type=int, default=200, help='of 4 images')
    parser.add_argument('--rate', type=float, default=1e-3)
    return parser.parse_args()


def stock_predictions(config: Path, checkpoint: Path, images: list[str], out: Path) -> list[dict]:
    """Predict with stock MMDetection where there is no mmadapt.

    Args:
        config (Path): The model's.
        checkpoint (Path): Loaded strictly.
        images (list[str]): Paths.
        out (Path): Where the predictions are kept.

    Returns:
        list[dict]: Of each image ``bboxes``, ``scores`` and ``labels``.
    """
    script = Path(__file__).with_name('stock.py')
    words = [sys.executable, script, config, checkpoint, out, *images]
    steps.run([*map(str, words)], out.with_suffix('.log'))
    return torch.load(out, weights_only=True)


def apart(some: list[dict], others: list[dict]) -> str:
    """Say how much two lists of predictions differ.

    Args:
        some (list[dict]): Of each image ``bboxes``, ``scores`` and ``labels``.
        others (list[dict]): The same.
    """
    counts = [[len(one['labels']) for one in which] for which in (some, others)]
    count = sum(counts[0])
    if counts[0] != counts[1]:
        return f'{count} and {sum(counts[1])} objects, not the same ones'
    columns = [
        [torch.cat([one[key].double().reshape(-1) for one in which]) for which in (some, others)]
        for key in ('labels', 'scores', 'bboxes')
    ]
    if all(torch.equal(a, b) for a, b in columns):
        return f'{count} objects, equal bit by bit'
    label, score, box = (float((a - b).abs().max()) for a, b in columns)
    return f'{count} objects; labels {label:.0f}, scores {score:.1e}, boxes {box:.1e} px apart'


def adapter_views(adapter: Path, base: Path, images: list[str]) -> dict[str, list[dict]]:
    """Predict with an adapter on one resident model, and with it off.

    Args:
        adapter (Path): Its folder.
        base (Path): The base's checkpoint.
        images (list[str]): Paths.

    Returns:
        dict[str, list[dict]]: Under ``none`` and ``lora``, of each image ``bboxes``, ``scores`` and
        ``labels``.
    """
    views = dict(none='', lora=str(adapter))
    inferencer = mmadapt.Inferencer(str(adapter), views, str(base), device='cpu')
    results = list(inferencer(images))
    return {
        name: [dict(result.samples[name][0].pred_instances.items()) for result in results]
        for name in views
    }


def validation_images(data: Path) -> list[Path]:
    """Find validation images, whatever their folder and format.

    Args:
        data (Path): The config that `mmadapt dataset --name data` has written.

    Returns:
        list[Path]: The first few by name.

    Raises:
        ValueError: There are none.
    """
    split = Config.fromfile(data).get('data_val') or {}
    if 'ann_file' not in split:
        raise ValueError(f'{data} has no data_val with an annotation file, which is needed here')
    root = steps.ROOT / split.data_root
    listed = json.loads((root / split.ann_file).read_text())['images']
    images = sorted(root / split.data_prefix.img / image['file_name'] for image in listed)
    if not images:
        raise ValueError(f'{root / split.ann_file} lists no image to validate with')
    return images[:_LOOKED_AT]


def adapt(args: argparse.Namespace, work: Path) -> list[str]:
    """Makes the checkpoint, compares, trains, merges and compares again.

    Args:
        args (argparse.Namespace): What was typed.
        work (Path): The work folder.

    Returns:
        list[str]: The figures, in Markdown.
    """
    file, base = weights.prepare(work)
    steps.run(
        command('dataset', args.data, '--name', 'data', '--out', work / 'data.py', '--force'),
        work / 'logs/dataset.log',
    )
    images = validation_images(work / 'data.py')
    noise = np.random.default_rng(0).uniform(0, 255, (1, 3, weights.SIDE, weights.SIDE))
    inputs = dict(noise=noise.astype(np.float32), image=weights.letterbox(images[0]))
    found = weights.differences(file, base, inputs)
    training = Training(
        'lora', 'data', args.rate, args.steps, load_from=base, peft=PEFT, model=weights.CONFIG
    )
    (work / 'records/lora.json').unlink(missing_ok=True)  # of other data, perhaps
    record = train(training, work)
    adapter, merged = work / 'runs/lora/adapter', work / 'merged.pth'
    steps.run(
        command('merge', config_of(training, work), adapter, merged, '--force'),
        work / 'logs/merge.log',
    )
    paths = [*map(str, images)]
    views = adapter_views(adapter, base, paths)
    stock = stock_predictions(weights.CONFIG, base, paths, work / 'base_predictions.pt')
    after = stock_predictions(merged.with_suffix('.py'), merged, paths, work / 'merged.pt')
    text = (work / 'logs/lora.log').read_text()
    loaded = re.search(r'pretrained weights for \d+ of \d+ tensors', text)
    kept = re.search(r'\d+ of \d+ classes start from their rows', text)
    rows = {
        **{f'{key}, largest difference to ONNX Runtime': f'{v:.1e}' for key, v in found.items()},
        'checkpoint': f'{loaded[0] if loaded else "the log does not say what was loaded"}; '
        f'{kept[0] if kept else "no class keeps its row"}',
        'training': f'{args.steps} steps of 4 images, {record["cpu_seconds"]:.0f} s of one core',
        'trainable': f'{record["trainable"]:,} of {record["total"]:,}',
        'adapter': f'{record["file_bytes"] / 1e6:.1f} MB',
        'AP50': f'{record["ap50"]:.3f}',
        'AP': f'{record["ap"]:.3f}',
        **{f'AP of {key}': f'{value:.3f}' for key, value in record['by_class'].items()},
        'adapter off; the base in stock MMDetection': apart(views['none'], stock),
        'adapter on; merged in stock MMDetection': apart(views['lora'], after),
    }
    return ['| | |', '|---|---|', *(f'| {key} | {value} |' for key, value in rows.items())]


def main() -> None:
    """Runs all of it."""
    args = parse_args()
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    try:
        lines = adapt(args, work)
    except (steps.StepFailed, ValueError) as error:
        sys.exit(f'FAILED: {error}')
    (work / 'summary.md').write_text('\n'.join(lines) + '\n')
    print('\n'.join(lines))


if __name__ == '__main__':
    main()
