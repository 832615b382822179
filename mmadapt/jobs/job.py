"""A job of nyuntam_adapt: what its keys say, and what became of each of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..values import close_names, nearest
from .keys import KEYS

BECAME, WARNING, ERROR = 'became', 'warning', 'error'


@dataclass(frozen=True)
class Line:
    """What became of a key.

    Args:
        key (str): Its name; several that act together are divided by commas.
        value: What the job says, None where it says nothing and the key's default counts.
        said (str): What it became, or why it cannot apply and what to do.
        level (str): :data:`BECAME`, :data:`WARNING` or :data:`ERROR`.
    """

    key: str
    value: Any
    said: str
    level: str = BECAME


class Job:
    """The keys of a job. Whoever reads one says what became of it.

    Args:
        values (Mapping): What the keys say, as :func:`read_job` reads it.
        source (str): The file, for messages.
    """

    def __init__(self, values: Mapping[str, Any], source: str = 'the job') -> None:
        self.source = source
        self.values: dict[str, Any] = {}
        self.lines: list[Line] = []
        for key, value in values.items():
            self._add(str(key), value)

    def _add(self, key: str, value) -> None:
        known = KEYS.get(key)
        if known is None:
            alike = next((name for name in KEYS if name.lower() == key.lower()), None)
            near = alike or ', '.join(close_names(key, KEYS, most=1, likeness=0.75))
            said = (
                f'no such key; did you mean {near}?'
                if near
                else (f'no such key, and none is like it; nearest: {nearest(key, KEYS)}')
            )
            self.lines.append(Line(key, value, said, ERROR))
            return
        value = plain(value, known.is_text)
        if value is None or value == []:
            self.lines.append(Line(key, None, 'empty: as if it were not there'))
            return
        try:
            self.values[key] = known.read(key, value)
        except UserError as error:
            self.lines.append(Line(key, value, str(error), ERROR))

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def get(self, key: str, default: Any = None) -> Any:
        """Return what a key says.

        Args:
            key (str): Its name.
            default: What counts where the job does not say it; by default what nyuntam_adapt's
                documentation names as the key's default.
        """
        return self.values.get(key, KEYS[key].default if default is None else default)

    def became(self, keys: str, said: str) -> None:
        """Note what keys became.

        Args:
            keys (str): Their names, divided by commas. Those that are not in the job are noted with
                their default where it is the first that is named.
            said (str): What they became.
        """
        self._note(keys, said, BECAME)

    def warn(self, keys: str, said: str) -> None:
        """Note why keys cannot apply here; the config is written all the same."""
        self._note(keys, said, WARNING)

    def refuse(self, keys: str, said: str) -> None:
        """Note why a job cannot be converted with these keys."""
        self._note(keys, said, ERROR)

    def _note(self, keys: str, said: str, level: str) -> None:
        there = [key for key in keys.split(', ') if key in self.values]
        for key in there or [keys.split(', ')[0]]:
            if key not in self.values:  # what was said of an empty key was that alone
                self.lines = [line for line in self.lines if line.key != key]
            self.lines.append(Line(key, self.values.get(key), said, level))

    @property
    def unsaid(self) -> list[str]:
        """list[str]: Keys of the job of which nothing has been said yet."""
        said = {line.key for line in self.lines}
        return [key for key in self.values if key not in said]

    @property
    def errors(self) -> list[Line]:
        """list[Line]: Why the job cannot be converted."""
        return [line for line in self.lines if line.level == ERROR]


def plain(value, is_text: bool = False) -> Any:
    """Return a value of YAML as its writer meant it.

    What YAML 1.1 leaves as text is a number or a word here: ``5e-3``, which has no dot, ``None``,
    and ``'True'`` in quotes.

    Args:
        value: What was read.
        is_text (bool): Whether the key is one of text, which may be digits. Defaults to False.
    """
    if isinstance(value, list):
        return value if is_text else [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if not isinstance(value, str):
        return value
    text = value.strip()
    word = text.lower()
    if word in ('', 'none', 'null', '~'):
        return None
    if is_text:
        return value
    if word in ('true', 'false'):
        return word == 'true'
    try:
        return float(text) if not text.lstrip('+-').isdigit() else int(text)
    except ValueError:
        return text


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would silently take the last."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise UserError(
                    f'{self.name}, line {key.start_mark.line + 1}: a key has to be a name'
                )
            if key.value in seen:
                raise UserError(
                    f'{self.name}: {key.value} stands twice, the second time in line '
                    f'{key.start_mark.line + 1}; leave one out'
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def meant(path: Path) -> str:
    """Return what a path that is not there may have been meant for, for the end of a message.

    Args:
        path (Path): The path.

    Returns:
        str: ``'; did you mean ...?'``, or nothing where nothing beside it is like it.
    """
    names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = close_names(path.name, names)
    return f'; did you mean {path.parent / near[0]}?' if near else ''


def read_job(path: str | Path) -> Job:
    """Read a job.

    Args:
        path (str or Path): The YAML file.

    Returns:
        Job: Its keys; unknown ones and wrong values are among its lines.

    Raises:
        UserError: The file cannot be read, is no YAML, or holds something else than keys.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding='utf-8')
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}{meant(path)}') from error
    except UnicodeDecodeError as error:
        raise UserError(f'{path} is no text in UTF-8: {error}') from error
    try:
        loader = _Loader(text)
        loader.name = str(path)
        values = loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        where = '' if mark is None else f', line {mark.line + 1}'
        what = getattr(error, 'problem', None) or str(error)
        raise UserError(f'{path}{where}: no YAML: {what}') from error
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f'{path}: no YAML of keys and values: {error}') from error
    if not isinstance(values, dict):
        raise UserError(
            f'{path} holds {type(values).__name__}, not keys such as MODEL_PATH: '
            'rtmdet_tiny_8xb32-300e_coco'
        )
    return Job(values, str(path))
