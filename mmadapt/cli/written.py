"""The last lines of a training or a merge: what it has written, and what to type next."""

import os.path as osp
import shlex
import sys
from pathlib import Path

from mmengine.config import Config

from ..hooks import PEFTCheckpointHook
from ..runs import checkpoint_hooks


def what_was_written(runner, config: str) -> list[str]:
    """Name the files that a finished training leaves, with the next commands.

    Args:
        runner (Runner): The runner, after training.
        config (str): The config as the command named it.

    Returns:
        list[str]: Lines for the log; none where nothing was written.
    """
    last, best = _checkpoints(runner)
    left = [
        f'{_named(path, runner)} ({", ".join(filter(None, [what, _size(path)]))})'
        for path, what in {**last, **best}.items()
    ]
    exports = [
        path
        for hook in runner.hooks
        if isinstance(hook, PEFTCheckpointHook)
        for path in hook.written
    ]
    left += [f'{_named(path, runner)} ({_size(path)})' for path in exports]
    if not left:
        return []
    lines = [f'written to {runner.work_dir}: {", ".join(left)}']
    tested, merged = [*best, *last][:1], [path for path in exports if osp.isdir(path)][-1:]
    if tested and runner.cfg.get('test_dataloader') is not None:
        lines.append(_to_test(runner.cfg, config, tested[0]))
    if merged:
        lines.append(
            'to make an ordinary checkpoint of it: '
            + _command('merge', config, *merged, osp.join(runner.work_dir, 'merged.pth'))
        )
    return lines


def how_to_use(config: str, merged: str, cfg: Config) -> list[str]:
    """Say what to type next with a merged model.

    Args:
        config (str): The config without mmadapt that was written with it.
        merged (str): The checkpoint.
        cfg (Config): What is in the config.

    Returns:
        list[str]: Lines; none where it can be neither tested nor used.
    """
    lines = []
    if cfg.get('test_dataloader') is not None:
        lines.append(_to_test(cfg, config, merged, typed=False))
    if cfg.get('default_scope') == 'mmdet':
        lines.append(
            f'to use it: from mmdet.apis import DetInferencer; DetInferencer({config!r}, '
            f"{merged!r})('IMAGE', out_dir='images')"
        )
    return lines


def _to_test(cfg: Config, config: str, checkpoint: str, typed: bool = True) -> str:
    shown = ['--show-dir', 'images'] if 'visualization' in (cfg.get('default_hooks') or {}) else []
    return ('to test it, with images of its predictions: ' if shown else 'to test it: ') + _command(
        'test', config, checkpoint, *shown, typed=typed
    )


def _checkpoints(runner) -> tuple[dict[str, str], dict[str, str]]:
    """Return what is to be said of the last and of the best checkpoints, by path."""
    last, best, info = {}, {}, runner.message_hub.runtime_info
    for hook in checkpoint_hooks(runner.hooks):
        if hook.last_ckpt is not None:
            last[str(hook.last_ckpt)] = 'the last, which --resume goes on from'
        if not hook.save_best:
            continue
        paths = getattr(hook, 'best_ckpt_path_dict', None)
        single = paths is None
        if paths is None:
            paths = {hook.key_indicators[0]: hook.best_ckpt_path}
        for metric, path in paths.items():
            score = info.get('best_score' if single else f'best_score_{metric}')
            if path:
                # 'auto' becomes a metric's name at the first validation, which a run may not have.
                name = '' if metric == 'auto' else f'{metric} '
                best[str(path)] = f'the best: {name}{score:.4f}'
    return last, best


def _command(subcommand: str, *arguments: str, typed: bool = True) -> str:
    # What was typed after --cfg-options may say where the data is.
    words = sys.argv[sys.argv.index('--cfg-options') :] if '--cfg-options' in sys.argv else []
    end = next((i for i, word in enumerate(words) if i and word.startswith('--')), len(words))
    return shlex.join(['mmadapt', subcommand, *arguments, *(words[:end] if typed else [])])


def _named(path: str, runner) -> str:
    return osp.basename(path) if osp.dirname(path) == osp.normpath(runner.work_dir) else path


def _size(path: str) -> str:
    if not osp.exists(path):
        return ''
    files = [Path(path)] if osp.isfile(path) else Path(path).rglob('*')
    return f'{sum(file.stat().st_size for file in files if file.is_file()) / 1e6:.1f} MB'
