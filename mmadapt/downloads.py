"""Downloads that fail, in one line each with the remedy."""

import os.path as osp
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch
from mmengine.runner.checkpoint import (
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)

from .errors import UserError
from .values import nearest

# Beside what Python itself raises: by class name, as none of these packages need be installed.
_ERRORS = (
    'LocalEntryNotFoundError',
    'OfflineModeIsEnabled',
    'HfHubHTTPError',
    'ConnectionError',
    'ConnectError',
    'ConnectTimeout',
    'ProxyError',
    'MaxRetryError',
)
_LISTS = {
    'torchvision': get_torchvision_models,
    'modelzoo': get_torchvision_models,
    'open-mmlab': get_external_models,
    'openmmlab': get_external_models,
    'mmcls': get_mmcls_models,
}
_SECONDS = 10
_HUB = "couldn't connect to 'https://huggingface.co'"


class Refusal(NamedTuple):
    """How a question to a server failed.

    Attributes:
        reason (str): Why.
        status (int, optional): What a server answered, such as 404; None where none was reached.
        slow (bool): Whether it has only not answered yet.
    """

    reason: str
    status: int | None = None
    slow: bool = False


def ask(address: str) -> Refusal | None:
    """Put to a server the question for a file, whose bytes are left there.

    Args:
        address (str): The file's.

    Returns:
        Refusal, optional: None where it can be had, or one cannot tell.
    """
    try:
        urlopen(Request(address, headers={'User-Agent': 'torch.hub'}), timeout=_SECONDS).close()
    except HTTPError as error:
        error.close()
        return Refusal(str(error.reason), status=error.code)
    except URLError as error:
        return Refusal(str(error.reason), slow=isinstance(error.reason, TimeoutError))
    except TimeoutError as error:
        return Refusal(str(error), slow=True)
    except (OSError, ValueError):  # the download will show
        return None
    return None


def why_not_downloaded(path: str) -> str | None:
    """Return why a file cannot be downloaded, None where it can, or is here, or one cannot tell.

    Args:
        path (str): An address, or a name with a scheme such as ``torchvision://resnet50``.

    Raises:
        UserError: The scheme has no file of that name.
    """
    scheme, _, name = path.partition('://')
    if scheme in _LISTS:
        models = _LISTS[scheme]()
        name = get_deprecated_model_names().get(name, name)
        if name not in models:
            raise UserError(
                f'{path}: MMEngine knows no {name!r} for {scheme}://; nearest: '
                f'{nearest(name, models)}'
            )
        path = models[name]
    if not path.startswith(('http://', 'https://')) or osp.isfile(
        osp.join(torch.hub.get_dir(), 'checkpoints', osp.basename(urlparse(path).path))
    ):
        return None
    refusal = ask(path)
    # From a slow server it may still come.
    return None if refusal is None or refusal.slow else refusal.reason


@contextmanager
def naming_pretrained(name: str, files: list[str]) -> Iterator[None]:
    """Say which file a module's initialization could not get.

    Args:
        name (str): The module's name in the model.
        files (list[str]): What its ``init_cfg`` names.

    Raises:
        UserError: There is no network, or no such file.
    """
    try:
        yield
    except URLError as error:
        raise not_initialized(name, files, error.reason) from None


def not_initialized(name: str, files: list[str], reason) -> UserError:
    """Return the error for a module whose weights cannot be downloaded.

    Args:
        name (str): The module's name in the model.
        files (list[str]): What its ``init_cfg`` names.
        reason (Any): Why.
    """
    option = f'model.{name}.init_cfg' if name else 'model.init_cfg'
    return UserError(
        f'cannot download {", ".join(files)} ({reason}), with which {name or "the model"} is '
        'initialized: set load_from to a checkpoint of the whole model, whose weights take its '
        'place, or fetch the file by hand and name it with --cfg-options '
        f'{option}.checkpoint=FILE'
    )


@contextmanager
def building_offline() -> Iterator[None]:
    """Say in one line what a model that is being built could not download.

    Raises:
        UserError: A part of it fetches weights or a tokenizer of its own, and there is no network.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        found = _download_in(error)
        if found is None:
            raise
        reason = (str(found).strip().splitlines() or [type(found).__name__])[0][:200]
        raise UserError(
            f'a part of the model downloads something when it is built, and cannot: {reason}. '
            'Where load_from has its weights, write pretrained=False for a timm backbone; from a '
            'file of the hub it reads them by pretrained_cfg_overlay=dict(file=PATH). A name '
            'on Hugging Face (language_model.name and the like) may be a local folder instead, '
            'which a machine with a network fills by snapshot_download'
        ) from error


def _download_in(error: BaseException | None) -> BaseException | None:
    """Return the failed download that an error comes from."""
    while error is not None:
        names = {cls.__name__ for cls in type(error).__mro__}
        if isinstance(error, URLError) or names & set(_ERRORS) or _HUB in str(error):
            return error
        error = error.__cause__ or error.__context__
    return None
