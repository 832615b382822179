"""The config with which a merged model is tested and used where mmadapt is not installed."""

import copy
from collections.abc import Sequence

from mmengine.config import Config

from ..config_model import model_config

# Nothing of how it was trained: that is where mmadapt's own names stand.
_KEPT = (
    'default_scope',
    'custom_imports',
    'data_preprocessor',
    'test_cfg',
    'test_dataloader',
    'test_evaluator',
    'tta_model',
    'tta_pipeline',
    'default_hooks',
    'env_cfg',
    'log_level',
    'log_processor',
    'vis_backends',
    'visualizer',
)
_OWN = __name__.split('.')[0]


def plain_config(cfg: Config, class_names: Sequence[str] | None = None) -> Config:
    """Return what testing and inference need of a config, with stock names only.

    Args:
        cfg (Config): The config of the training; it is not changed.
        class_names (Sequence[str], optional): What the model predicts, for a test data set that
            does not say so itself.

    Returns:
        Config: The model, the test data set with its pipeline and classes, and the evaluator.
    """
    plain = {key: copy.deepcopy(cfg[key]) for key in _KEPT if cfg.get(key) is not None}
    plain['model'] = model_config(cfg)
    imports = plain.pop('custom_imports', {})
    names = imports.get('imports', [])
    others = [
        name
        for name in ([names] if isinstance(names, str) else names)
        if name.split('.')[0] != _OWN
    ]
    if others:
        plain['custom_imports'] = dict(imports, imports=others)
    if class_names and 'test_dataloader' in plain:
        dataset = plain['test_dataloader'].dataset
        while 'dataset' in dataset:
            dataset = dataset.dataset
        metainfo = dict(dataset.get('metainfo') or {})
        dataset.metainfo = {**metainfo, 'classes': metainfo.get('classes', tuple(class_names))}
    return Config(plain)
