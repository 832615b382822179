"""An environment into which a user has installed the wheel, and the commands typed there."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from stock_runs import write_base, write_data

ROOT = Path(__file__).resolve().parents[2]
_PIP = ['-m', 'pip', '--disable-pip-version-check']
_SMALL = """
_base_ = './face.py'
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
            dict(type='Resize', scale=(64, 64), keep_ratio=False), dict(type='PackDetInputs')]
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(pipeline=pipeline))
val_dataloader = dict(num_workers=0, dataset=dict(pipeline=pipeline))
test_dataloader = dict(num_workers=0, dataset=dict(pipeline=pipeline))
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=2, val_interval=2)
optim_wrapper = dict(accumulative_counts=1)
custom_hooks = [dict(type='PEFTInjectHook')]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2, save_best=None),
                     logger=dict(interval=1))
"""


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout."""
    source = folder / 'source'
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'mmadapt_command.py'):
        (source / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    ignored = shutil.ignore_patterns('__pycache__')
    shutil.copytree(ROOT / 'mmadapt', source / 'mmadapt', ignore=ignored)
    command = ['wheel', '-q', '--no-deps', '--no-build-isolation', '-w', folder, source]
    subprocess.run([sys.executable, *_PIP, *command], check=True)
    shutil.rmtree(source)
    (wheel,) = folder.glob('*.whl')
    return wheel


def make_environment(folder: Path, packages: Iterable[str]) -> Path:
    """Make an environment that finds what is in some folders of packages, and install the wheel.

    Nothing can be fetched: what the wheel asks for is there, or this fails.

    Args:
        folder (Path): An empty folder.
        packages (list[str]): Folders of installed packages. An editable installation of this
            checkout among them is not followed.

    Returns:
        Path: The folder of its programs.
    """
    wheel = build_wheel(folder)
    venv.create(folder / 'env', symlinks=True)
    site_packages = Path(sysconfig.get_path('purelib', vars=dict(base=folder / 'env')))
    (site_packages / 'below.pth').write_text('\n'.join(map(str, packages)))
    python = folder / 'env' / 'bin' / 'python'
    # Of another version than an editable one's, which would do; that is no package's file of it.
    command = ['install', '-q', '--no-index', '--force-reinstall', '--no-deps', wheel]
    subprocess.run([python, *_PIP, *command], check=True)
    subprocess.run([python, *_PIP, 'install', '-q', '--no-index', wheel], check=True)
    return python.parent


def typing_there(programs: Path, cwd: Path) -> Callable[..., str]:
    """Return a function that runs a program of an environment in a folder of its own.

    Its arguments are the words of the command, and the exit code expected; it returns what was
    printed.
    """
    env = {
        key: value for key, value in os.environ.items() if key not in ('PYTHONPATH', 'VIRTUAL_ENV')
    }
    env.update(
        PATH=f'{programs}:{env["PATH"]}',
        OMP_NUM_THREADS='1',
        CUDA_VISIBLE_DEVICES='-1',
        PYTHONWARNINGS='ignore',
        COLUMNS='200',
    )

    def run(*words, code=0):
        done = subprocess.run(
            [*map(str, words)], cwd=cwd, env=env, text=True, capture_output=True, timeout=500
        )
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    run.cwd = cwd
    return run


def write_face_data(cwd: Path) -> None:
    """Write data in which the face config finds what it names, and a base checkpoint."""
    folder = cwd / 'data' / 'face_det'
    write_data(folder)
    for split, place in (('train', 'train'), ('val', 'validation')):
        if place != split:
            (folder / split).rename(folder / place)
        content = json.loads((folder / f'{split}.json').read_text())
        for category, name in zip(content['categories'], ('faces', 'face'), strict=True):
            category['name'] = name
        (folder / place / 'annotations_coco.json').write_text(json.dumps(content))
    write_base(cwd / 'base.pth', 'rtmdet')


def copy_train_test_and_merge(run: Callable[..., str]) -> None:
    """Go all the way with the face config, on two processes."""
    listed = run('mmadapt', 'configs', 'list')
    assert 'peft/rtmdet_tiny_lora_face.py' in listed
    run('mmadapt', 'configs', 'copy', 'peft/rtmdet_tiny_lora_face.py', 'face.py')
    (run.cwd / 'small.py').write_text(_SMALL)
    options = ['--cfg-options', 'load_from=base.pth']
    said = run('python', '-m', 'mmadapt', 'launch', '2', 'train', 'small.py', *options)
    assert (run.cwd / 'work_dirs' / 'small' / 'iter_2.pth').is_file()
    test, merge = said.splitlines()[-2:]
    for line in (test, merge):
        words = line.partition('mmadapt ')[2].split()
        run('mmadapt', *words)
    merged = run.cwd / 'work_dirs' / 'small' / 'merged.pth'
    again = run('mmadapt', 'merge', 'small.py', 'work_dirs/small/adapter', merged, *options, code=2)
    assert 'merged.py are there; --force' in again
    state = torch.load(merged, weights_only=True)['state_dict']
    base = torch.load(run.cwd / 'base.pth', weights_only=True)['state_dict']
    assert state.keys() == base.keys()
