"""Pretrained weights of timm's models, looked for before anything waits for them."""

from collections.abc import Iterator
from importlib.util import find_spec

from .errors import UserError
from .extras import remedy
from .hub import Wanted, is_cached, why_not_fetched
from .type_names import type_name
from .values import nearest

_FILES = ('model.safetensors', 'pytorch_model.bin')
# With these timm reads no weights of the hub, whatever else is given; with url it does.
_ELSEWHERE = ('file', 'state_dict')
_HUB = 'hf-hub'  # the source of a model that is named after it, and so the scheme of its name


def check_timm_weights(model: dict | list, place: str = 'model') -> None:
    """Check that the weights that timm fetches for a model are there, or can be fetched.

    Args:
        model (dict or list): The model's config.
        place (str): Where it stands, as --cfg-options has it. Defaults to ``'model'``.

    Raises:
        UserError: timm is not installed, it knows the model but no weights of that name, or the
            weights are not in the cache and there is no network.
    """
    for where, node in _timm_models(model, place):
        if find_spec('timm') is None:
            raise UserError(
                f'{where}.type={node["type"]!r} needs the package timm, which is not installed'
                f'{remedy("timm")}'
            )
        _check_tag(where, node)
        for wanted in _read_of(node):
            reason = None if is_cached(wanted) else why_not_fetched(wanted)
            if reason is not None:
                raise UserError(_out_of_reach(where, node, wanted, reason))


def timm_files(model: dict | list, place: str = 'model') -> Iterator[tuple[str, Wanted]]:
    """Find what timm reads from the hub when a model is built.

    Args:
        model (dict or list): The model's config.
        place (str): Where it stands. Defaults to ``'model'``.

    Yields:
        tuple[str, Wanted]: Place in the config, and the files.
    """
    if find_spec('timm') is None:
        return
    for where, node in _timm_models(model, place):
        for wanted in _read_of(node):
            yield where, wanted


def _read_of(node: dict) -> Iterator[Wanted]:
    """Yield what timm reads from the hub for one model."""
    if find_spec('huggingface_hub') is None:
        return
    known, cache = _pretrained_cfg(node), node.get('cache_dir')
    if known is None or not known.hf_hub_id:
        return
    name, _, revision = known.hf_hub_id.partition('@')
    if _named_after_the_hub(node):  # which says what model it is
        yield Wanted(name, ('config.json',), revision or 'main', cache)
    elsewhere = known.source != _HUB and any(getattr(known, key) for key in _ELSEWHERE)
    if node.get('pretrained') and not elsewhere:
        yield Wanted(name, _files(known), revision or 'main', cache)


def _named_after_the_hub(node: dict) -> bool:
    return node['model_name'].lower().startswith((f'{_HUB}:', 'hf_hub:'))


def _pretrained_cfg(node: dict):
    """Return what timm makes of a model's name, its pretrained_cfg and the overlay of that.

    Returns:
        timm.models.PretrainedCfg, optional: None where nothing is read from the hub, or timm takes
        none of it, and says so itself.
    """
    from timm.models import (
        is_model,
        parse_model_name,
        resolve_pretrained_cfg,
        split_model_name_tag,
    )

    given, overlay = node.get('pretrained_cfg'), node.get('pretrained_cfg_overlay')
    try:
        scheme, name = parse_model_name(node['model_name'])
        if scheme == _HUB:
            return resolve_pretrained_cfg(name, dict(hf_hub_id=name, source=_HUB), overlay)
        name, tag = split_model_name_tag(name)
        if scheme or not is_model(name):
            return None
        return resolve_pretrained_cfg(name, given or tag, overlay)
    except (RuntimeError, TypeError, ValueError):
        return None


def _files(known) -> tuple[str, ...]:
    """Return the files that timm looks for, in its order."""
    file = known.hf_hub_filename
    if not file or file == _FILES[1]:
        return _FILES
    if known.custom_load == 'hf' or not file.endswith('.bin'):
        return (file,)
    if file == 'open_clip_pytorch_model.bin':
        return 'open_clip_model.safetensors', file
    return file.removesuffix('.bin') + '.safetensors', file


def _check_tag(where: str, node: dict) -> None:
    """Check that timm has weights of the name that a model of it is given."""
    from timm.models import get_arch_pretrained_cfgs, split_model_name_tag

    given = node.get('pretrained_cfg')
    name, tag = split_model_name_tag(node['model_name'])
    known = {full: full.removeprefix(f'{name}.') for full in get_arch_pretrained_cfgs(name)}
    if isinstance(given, str) and given:
        key, wrong, names = 'pretrained_cfg', given, list(known.values())
    elif tag and not given:  # which goes before the tag
        key, wrong, names = 'model_name', f'{name}.{tag}', list(known)
    else:
        return
    if known and wrong not in names:  # timm says itself which model it does not know
        raise UserError(
            f'{where}.{key}={wrong!r}: timm knows no such weights of {name}; nearest: '
            f'{nearest(wrong, names)}'
        )


def _out_of_reach(where: str, node: dict, wanted: Wanted, reason: str) -> str:
    """Return what is said of files that are neither in the cache nor can be fetched."""
    of = '' if wanted.revision == 'main' else f' --revision {wanted.revision}'
    if _named_after_the_hub(node):  # the overlay's file would not be looked at
        key, what = f'model_name={node["model_name"]}', f'its files {" or ".join(wanted.files)}'
        instead = (
            f'`hf download {wanted.name}{of} --local-dir FOLDER` fills a folder, which '
            f'--cfg-options {where}.model_name=local-dir:FOLDER names'
        )
    else:
        key, what = 'pretrained=True', f'the weights of timm, {wanted.name},'
        instead = (
            f'`hf download {wanted.name} {wanted.files[0]}{of}` says which file it has written, '
            f'which --cfg-options {where}.pretrained_cfg_overlay.file=FILE names; where load_from '
            f'has all weights, {where}.pretrained=False'
        )
    return (
        f'{where}.{key}: {what} are not in the cache of Hugging Face and cannot be downloaded '
        f'({reason}); where there is a network, {instead}'
    )


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
