"""Drawing what a model predicts in a test: each library's hook is told so by other words."""

import os.path as osp
from dataclasses import dataclass

from mmengine.config import Config, ConfigDict

from ..errors import UserError
from ..type_names import type_name

_LOCAL = 'LocalVisBackend'


@dataclass(frozen=True)
class _Words:
    """How a hook that draws is configured.

    Args:
        draws (str): The key that turns it on.
        writes (str): The one that says where it writes: a folder below the time stamp of the run.
            '' for hooks that hand their images to the visualizer, which has a folder of its own;
            they draw one in so many.
        visualizer (str): The visualizer that it draws by.
        shows_only (bool): Whether it takes the visualizer's storage away where it shows.
    """

    draws: str
    writes: str
    visualizer: str
    shows_only: bool = False


_DETECTION = _Words('draw', 'test_out_dir', 'DetLocalVisualizer')
_WORDS = {
    'PoseVisualizationHook': _Words('enable', 'out_dir', 'PoseLocalVisualizer'),
    'SegVisualizationHook': _Words('draw', '', 'SegLocalVisualizer', True),
    'VisualizationHook': _Words('enable', '', 'UniversalVisualizer'),
    'TrackVisualizationHook': _Words('draw', 'test_out_dir', 'TrackLocalVisualizer'),
}


def draw_predictions(cfg: Config, show: bool, wait_time: float, folder: str | None) -> None:
    """Have a test draw what is predicted.

    Args:
        cfg (Config): The config of the run, its ``work_dir`` set; it is changed.
        show (bool): Whether drawings are shown in a window.
        wait_time (float): For how many seconds each.
        folder (str, optional): Where they are written.

    Raises:
        UserError: No hook of the config draws, or the one that does cannot both show and write.
    """
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise UserError(
            '--show and --show-dir need default_hooks.visualization=dict(type='
            "'DetVisualizationHook') in the config, or that of its library"
        )
    words = _words(cfg)
    if show and folder and words.shows_only:
        raise UserError(
            f'--show and --show-dir: {type_name(hook.type)} shows what it draws or writes it; '
            'leave one of them away'
        )
    hook[words.draws] = True
    if show:
        hook.update(show=True, wait_time=wait_time)
    if not words.writes:
        hook['interval'] = 1
    # What a config without one gets, MMEngine's own, draws nothing.
    visualizer = cfg.get('visualizer') or dict(vis_backends=[dict(type=_LOCAL)])
    if type_name(visualizer.get('type')) in ('', 'Visualizer'):
        visualizer['type'] = words.visualizer
    cfg.visualizer = visualizer
    if folder and words.writes:
        hook[words.writes] = folder
    elif folder:
        if words.shows_only:
            hook.pop('show', None)
        hook.pop('out_dir', None)  # of MMPretrain's, with which the visualizer gets nothing to keep
        cfg.visualizer.save_dir = osp.join(cfg.work_dir, folder)
        _store_in_files(cfg.visualizer)


def drawings_folder(cfg: Config, timestamp: str, folder: str) -> str:
    """Return where a test has written its drawings.

    Args:
        cfg (Config): Its config.
        timestamp (str): The time stamp of the run.
        folder (str): As :func:`draw_predictions` was given it.
    """
    if _words(cfg).writes:
        return osp.join(cfg.work_dir, timestamp, folder)
    return osp.join(cfg.work_dir, folder, 'vis_data', 'vis_image')


def _words(cfg: Config) -> _Words:
    return _WORDS.get(type_name(cfg.default_hooks.visualization.get('type')), _DETECTION)


def _store_in_files(visualizer: ConfigDict) -> None:
    """Have a visualizer write images below its own folder, whatever else it does with them."""
    given = visualizer.get('vis_backends') or []
    backends = [given] if isinstance(given, dict) else [*given]
    kinds = [type_name(backend.get('type')) for backend in backends]
    if _LOCAL in kinds:
        # A folder of its own would go before the visualizer's.
        own = backends[kinds.index(_LOCAL)]
        own.pop('save_dir', None)
        own.pop('img_save_dir', None)
    else:
        backends.append(dict(type=_LOCAL))
    visualizer.vis_backends = backends
