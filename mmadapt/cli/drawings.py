"""Drawing what a model predicts in a test: each library's hook is told so by other words."""

import os.path as osp

from mmengine.config import Config

from ..errors import UserError
from ..type_names import type_name

# What turns a hook on, and what says where it writes: a folder below the time stamp of the run.
_DETECTION = ('draw', 'test_out_dir')
_WORDS = {
    'PoseVisualizationHook': ('enable', 'out_dir'),
    # These hand their images to the visualizer, which has a folder of its own, one in so many.
    'SegVisualizationHook': ('draw', ''),
    'VisualizationHook': ('enable', ''),
}


def draw_predictions(cfg: Config, show: bool, wait_time: float, folder: str | None) -> None:
    """Have a test draw what is predicted.

    Args:
        cfg (Config): The config of the run, its ``work_dir`` set; it is changed.
        show (bool): Whether drawings are shown in a window.
        wait_time (float): For how many seconds each.
        folder (str, optional): Where they are written.

    Raises:
        UserError: No hook of the config draws.
    """
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise UserError(
            '--show and --show-dir need default_hooks.visualization=dict(type='
            "'DetVisualizationHook') in the config, or that of its library"
        )
    draws, writes = _words(cfg)
    hook[draws] = True
    if show:
        hook.update(show=True, wait_time=wait_time)
    if not writes:
        hook['interval'] = 1
    if folder and writes:
        hook[writes] = folder
    elif folder:
        cfg.visualizer.save_dir = osp.join(cfg.work_dir, folder)


def drawings_folder(cfg: Config, timestamp: str, folder: str) -> str:
    """Return where a test has written its drawings.

    Args:
        cfg (Config): Its config.
        timestamp (str): The time stamp of the run.
        folder (str): As :func:`draw_predictions` was given it.
    """
    if _words(cfg)[1]:
        return osp.join(cfg.work_dir, timestamp, folder)
    return osp.join(cfg.work_dir, folder, 'vis_data', 'vis_image')


def _words(cfg: Config) -> tuple[str, str]:
    return _WORDS.get(type_name(cfg.default_hooks.visualization.get('type')), _DETECTION)
