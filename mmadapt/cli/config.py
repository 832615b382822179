"""From the arguments of a tool to the config of a run."""

import logging
import tempfile
from pathlib import Path

from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import print_log
from mmengine.utils import is_installed

from ..compat.versions import transformers_too_new
from ..errors import UserError
from ..extras import remedy
from ..logs import is_first_process
from ..preflight import check_options, check_packages, check_top
from .reading import explain, nearest_file


def load_config(path: str, options: dict | None = None) -> Config:
    """Read a config and merge the options of the command line into it.

    Args:
        path (str): A config file, or a stock one such as
            ``'mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py'``.
        options (dict, optional): What followed ``--cfg-options``. Defaults to None.

    Returns:
        Config: The merged config.

    Raises:
        UserError: It cannot be read, a key of it is misspelled, an option cannot have an effect, no
            model could be imported, it has none, or a library that it names is not installed.
    """
    beside = transformers_too_new(for_detectors=True)
    if beside:
        raise UserError(beside)
    if '::' in path:
        package = path.split('::')[0]
        # MMEngine would install a missing package by pip.
        if not is_installed(package):
            raise UserError(f'{path}: the package {package} is not installed{remedy(package)}')
    elif not Path(path).is_file():
        raise UserError(f'there is no config file {path}{nearest_file(Path(path))}')
    try:
        cfg = get_config(path) if '::' in path else Config.fromfile(path)
    except UserError:
        raise
    except Exception as error:
        raise UserError(explain(error, path)) from error
    check_top(cfg, cfg.text)
    for line in check_options(cfg, options):
        if is_first_process():
            print_log(line, logger='current', level=logging.WARNING)
    try:
        cfg.merge_from_dict(options or {})
    except (KeyError, TypeError) as error:
        raise UserError(f'--cfg-options do not fit the config: {error}') from error
    if not cfg.get('model'):
        # As in a file to inherit, and in the data set file that `mmadapt dataset` writes.
        raise UserError(
            f'{path}: there is no model; a config inherits one, as from '
            'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py, beside such files'
        )
    check_packages(cfg)
    return cfg


def set_work_dir(cfg: Config, config_path: str, work_dir: str | None) -> None:
    """Set ``cfg.work_dir``: the argument, else the config's own, else one named after the file.

    Args:
        cfg (Config): The config; changed in place.
        config_path (str): The config as the command named it.
        work_dir (str, optional): The argument ``--work-dir``.

    Raises:
        UserError: Nothing can be written there.
    """
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = f'./work_dirs/{Path(config_path).stem}'
    try:
        Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cfg.work_dir):
            pass
    except OSError as error:
        raise UserError(
            f'work_dir {cfg.work_dir} cannot be written: {error.strerror}; '
            'name another one with --work-dir'
        ) from error
