"""From a config to its model, without data."""

import copy

from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from .downloads import building_offline
from .hub_parts import building_from_the_cache, check_hub_parts


def model_config(cfg: Config) -> ConfigDict:
    """Return what a runner builds the model of a config from.

    Args:
        cfg (Config): The config; it is not changed.

    Returns:
        ConfigDict: ``cfg.model``, with the ``data_preprocessor`` that may stand beside it at the
            top of the config, as MMPretrain's do.
    """
    model = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    return model


def build_model(cfg: Config) -> nn.Module:
    """Build the model of a config, on the CPU, its weights random.

    Args:
        cfg (Config): A whole config.

    Returns:
        nn.Module: The model.

    Raises:
        UserError: A part of it downloads something, and there is no network.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    return build_again(cfg)


def build_again(cfg: Config) -> nn.Module:
    """Build the model of a config in a run, which has set the scope of its registries.

    Args:
        cfg (Config): The run's whole config.

    Returns:
        nn.Module: The model, on the CPU, its weights random.

    Raises:
        UserError: A part of it downloads something, and there is no network.
    """
    check_hub_parts(cfg.model)
    with building_offline(), building_from_the_cache(cfg.model):
        return MODELS.build(model_config(cfg))
