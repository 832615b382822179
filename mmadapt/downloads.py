"""Downloads that fail, in one line each with the remedy."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import URLError

from .errors import UserError

# Beside what Python itself raises: by class name, as none of these packages need be installed.
_ERRORS = ('LocalEntryNotFoundError', 'OfflineModeIsEnabled', 'HfHubHTTPError', 'ConnectionError',
           'ConnectError', 'ConnectTimeout', 'ProxyError', 'MaxRetryError')
_HUB = "couldn't connect to 'https://huggingface.co'"


@contextmanager
def naming_pretrained(name: str, files: list[str]) -> Iterator[None]:
    """Say which file a module's initialisation could not get.

    Args:
        name (str): The module's name in the model.
        files (list[str]): What its ``init_cfg`` names.

    Raises:
        UserError: There is no network, or no such file.
    """
    try:
        yield
    except URLError as error:
        option = f'model.{name}.init_cfg' if name else 'model.init_cfg'
        raise UserError(
            f'cannot download {", ".join(files)} ({error.reason}), with which '
            f'{name or "the model"} is initialised: set load_from to a checkpoint of the whole '
            'model, whose weights take its place, or fetch the file by hand and name it with '
            f'--cfg-options {option}.checkpoint=FILE') from None


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
            'Where load_from has its weights, write pretrained=False for a timm backbone; a name '
            'on Hugging Face (language_model.name and the like) may be a local folder instead, '
            'which a machine with a network fills by snapshot_download') from error


def _download_in(error: BaseException | None) -> BaseException | None:
    """Return the failed download that an error comes from."""
    while error is not None:
        names = {cls.__name__ for cls in type(error).__mro__}
        if isinstance(error, URLError) or names & set(_ERRORS) or _HUB in str(error):
            return error
        error = error.__cause__ or error.__context__
    return None
