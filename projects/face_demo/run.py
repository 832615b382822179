"""`make demo`: sample, base, LoRA on two processes, merge, stock test, images, comparison.

python projects/face_demo/run.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
if __name__ == '__main__':
    from mmadapt_command import catch_interrupt

    catch_interrupt()  # before all that takes seconds to import

import shutil  # noqa: E402
import textwrap  # noqa: E402
import time  # noqa: E402
from importlib.resources import files  # noqa: E402

import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402

from mmadapt.cli.exit import raise_when_stopped, stop_behind  # noqa: E402
from projects.face_demo import base, comparison, metrics, sample, sheet, steps  # noqa: E402

DATA = steps.ROOT / 'data/face_demo'
WORK = steps.ROOT / 'work_dirs/face_demo'
LORA = 'projects/face_demo/configs/rtmdet_tiny_lora_face_demo.py'
_PROJECT = 'projects/face_demo/configs'
PLAIN = f'{_PROJECT}/plain.py'
RUNS = {  # name: (config, folder of the run)
    'head only': (f'{_PROJECT}/head_only.py', 'head_only'),
    'LoRA': (LORA, 'lora'),
    'full fine-tuning': (f'{_PROJECT}/full.py', 'full'),
}
TARGET_AP50 = 0.8
_BATCH = 8  # images a step, all processes together

# Runs MMDetection's own test where `import mmadapt` fails, to show that the file needs none of it.
_WITHOUT_MMADAPT = (
    'import runpy, sys; sys.modules["mmadapt"] = None; sys.argv = sys.argv[1:]; '
    'runpy.run_path(sys.argv[0], run_name="__main__")'
)


def process_count() -> int:
    """Two, on CPU and wherever there are two GPUs; one on a machine with one GPU."""
    return min(2, torch.cuda.device_count()) if torch.cuda.is_available() else 2


def train(name: str) -> comparison.Row:
    """Trains one of `RUNS` from the base and returns its row of the table."""
    config, folder = RUNS[name]
    work_dir, processes = WORK / folder, process_count()
    shutil.rmtree(work_dir, ignore_errors=True)
    seconds = steps.run(
        [
            './tools/dist_train.sh',
            config,
            str(processes),
            '--work-dir',
            str(work_dir),
            '--cfg-options',
            f'train_dataloader.batch_size={_BATCH // processes}',
        ],
        log := WORK / f'{folder}.log',
        processes,
    )
    scalars = metrics.last_scalars(work_dir)
    trainable, total = metrics.parameter_counts(log)
    return comparison.Row(
        name=name,
        trainable=trainable,
        total=total,
        ap50=scalars['coco/bbox_mAP_50'],
        ap=scalars['coco/bbox_mAP'],
        seconds=seconds,
        # What was trained; without a method it is no adapter.
        size=metrics.folder_bytes(
            next(work_dir / name for name in ('adapter', 'trained') if (work_dir / name).exists())
        ),
        # Of the config that MMEngine has left beside the run, command line included.
        lr=Config.fromfile(work_dir / Path(config).name).optim_wrapper.optimizer.lr,
    )


def merge_and_test() -> dict:
    """Merges the LoRA run and tests the merged file with the stock model and the stock tool.

    Returns:
        dict: the scalars of the test.
    """
    merged, test_dir = WORK / 'merged.pth', WORK / 'stock_test'
    shutil.rmtree(test_dir, ignore_errors=True)
    steps.run(
        [sys.executable, 'tools/merge_adapter.py', LORA, str(WORK / 'lora/adapter'), str(merged)],
        WORK / 'merge.log',
    )
    tool = files('mmdet') / '.mim/tools/test.py'
    steps.run(
        [
            sys.executable,
            '-c',
            _WITHOUT_MMADAPT,
            str(tool),
            PLAIN,
            str(merged),
            '--work-dir',
            str(test_dir),
            '--out',
            str(WORK / 'predictions.pkl'),
        ],
        WORK / 'stock_test.log',
    )
    return metrics.last_scalars(test_dir)


def _tell(text: str) -> None:
    print(
        textwrap.fill(
            text,
            100,
            initial_indent='   ',
            subsequent_indent='   ',
            break_long_words=False,
            break_on_hyphens=False,
        ),
        flush=True,
    )


def _say(step: str) -> None:
    print(f'\n== {step}', flush=True)


def demo() -> bool:
    """Runs all of it.

    Returns:
        bool: whether the merged checkpoint reached the target.
    """
    start = time.monotonic()
    WORK.mkdir(parents=True, exist_ok=True)
    _say('1/6  the sample: faces on textures among other things')
    _tell(f'{"made" if sample.prepare(DATA) else "already there"}: {DATA}')
    _say('2/6  the base weights')
    record, new = base.obtain(WORK / 'base')
    _tell(f'{"obtained" if new else "already there"}: {base.describe(record)}')
    _say(f'3/6  LoRA, processes: {process_count()}')
    lora = train('LoRA')
    _say('4/6  merged into a stock checkpoint, tested by MMDetection without mmadapt')
    stock = merge_and_test()
    ap50 = stock['coco/bbox_mAP_50']
    _say('5/6  the images')
    image = WORK / 'contact_sheet.jpg'
    sheet.draw_sheet(
        DATA / 'validation/annotations_coco.json',
        WORK / 'predictions.pkl',
        image,
        f'merged LoRA checkpoint in stock MMDetection, AP50 {ap50:.3f}',
    )
    _tell(str(image))
    _say('6/6  the same base and the same iterations, adapted in two other ways')
    rows = [train('head only'), lora, train('full fine-tuning')]
    total = time.monotonic() - start
    notes = [
        f'The base is {base.describe(record)}.',
        'All three start from it and see the same images for the same number of iterations at '
        'the same learning rate (projects/face_demo/README.md says which others were tried). AP is '
        'that of the last iteration on 60 validation images, one run each: a difference of a few '
        'hundredths means nothing.',
        f'Merged and read by stock MMDetection, LoRA has AP50 {ap50:.3f} '
        f'(AP {stock["coco/bbox_mAP"]:.3f}). Everything took {total / 60:.1f} minutes.',
    ]
    print()
    comparison.show(rows, 'validation faces')
    for note in notes:
        _tell(note)
    comparison.write(rows, WORK, dict(base=record, merged=stock, seconds=total), notes)
    _tell(f'All of it is in {WORK}')
    if ap50 < TARGET_AP50:
        print(f'FAILED: the merged checkpoint has AP50 {ap50:.3f}, less than {TARGET_AP50}')
    return ap50 >= TARGET_AP50


def main() -> int:
    """Runs the demo; returns the exit status."""
    try:
        return 0 if demo() else 1
    except KeyboardInterrupt as error:
        print('\nInterrupted. The sample and a finished base stay: `make demo` goes on from them.')
        return 128 + stop_behind(error).number
    except (steps.StepFailed, OSError, ValueError) as error:
        print(f'\nFAILED: {error}')
        return 1


if __name__ == '__main__':
    raise_when_stopped()
    sys.exit(main())
