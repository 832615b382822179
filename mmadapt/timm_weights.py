"""Pretrained weights of timm's models, looked for before anything waits for them."""

from collections.abc import Iterator
from importlib.util import find_spec

from .errors import UserError
from .extras import remedy
from .hub import is_cached, why_not_fetched
from .type_names import type_name

_FILES = ('model.safetensors', 'pytorch_model.bin')
# With these of its arguments timm reads the weights from elsewhere.
_ELSEWHERE = ('file', 'url', 'state_dict')


def check_timm_weights(model: dict | list, place: str = 'model') -> None:
    """Check that the weights that timm fetches for a model are there, or can be fetched.

    Args:
        model (dict or list): The model's config.
        place (str): Where it stands, as --cfg-options has it. Defaults to ``'model'``.

    Raises:
        UserError: timm is not installed, or the weights are not in the cache and there is no
            network.
    """
    for where, node in _timm_models(model, place):
        if find_spec('timm') is None:
            raise UserError(
                f'{where}.type={node["type"]!r} needs the package timm, which is not installed'
                f'{remedy("timm")}'
            )
    for where, name, files in timm_files(model, place):
        if is_cached(name, files):
            continue
        reason = why_not_fetched(name, files[0])
        if reason is not None:
            raise UserError(
                f'{where}.pretrained=True: the weights of timm, {name}, are not in the cache of '
                f'Hugging Face and cannot be downloaded ({reason}); where there is a network, '
                f'`hf download {name} {files[0]}` says which file it has written, which '
                f'--cfg-options {where}.pretrained_cfg_overlay.file=FILE names; where load_from '
                f'has all weights, {where}.pretrained=False'
            )


def timm_files(
    model: dict | list, place: str = 'model'
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Find what timm reads from the hub when a model is built.

    Args:
        model (dict or list): The model's config.
        place (str): Where it stands. Defaults to ``'model'``.

    Yields:
        tuple[str, str, tuple[str, ...]]: Place in the config, repository, and the files of which
        one is read.
    """
    if find_spec('timm') is None or find_spec('huggingface_hub') is None:
        return
    for where, node in _timm_models(model, place):
        overlay = node.get('pretrained_cfg_overlay') or {}
        if node.get('pretrained') and not any(overlay.get(key) for key in _ELSEWHERE):
            name = _repository(node['model_name'])
            if name is not None:
                yield where, name, _FILES


def _repository(model: str) -> str | None:
    """Return the repository of a model's weights; None where timm reads them from elsewhere."""
    from timm.models import get_pretrained_cfg

    scheme, _, rest = model.partition(':')
    if scheme in ('hf-hub', 'hf_hub'):
        return rest.partition('@')[0]
    known = get_pretrained_cfg(model)
    return None if known is None or known.file or known.state_dict else known.hf_hub_id


def _timm_models(node, place: str) -> Iterator[tuple[str, dict]]:
    """Yield the place and the config of every model of timm, at any depth."""
    if isinstance(node, dict):
        if 'timm' in type_name(node.get('type')).lower() and isinstance(
            node.get('model_name'), str
        ):
            yield place, node
        for key, value in node.items():
            yield from _timm_models(value, f'{place}.{key}')
    elif isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _timm_models(item, f'{place}.{index}')
