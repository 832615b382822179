"""Which parts of the package know which: none knows one that knows it."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mmadapt

PACKAGE = Path(mmadapt.__file__).parent
# The package's face, and what it says that importing it changes, know everything.
FACES = {'__init__', '__main__'}


# What is written in one file, by a regular expression of it: a second place would differ some day.
ONCE = {
    r'get_close_matches\(': 'values.py',
    r'isinstance\(.+\) and not isinstance\(\w+, bool\)': 'values.py',
    r'not isinstance\(.+, bool\):': 'values.py',
    r'MODELS\.build\(': 'config_model.py',
    r'is_model_wrapper\(.+ or ': 'runs.py',
    r'isinstance\(\w+, EMAHook\)': 'runs.py',
    r'for hook in .* if isinstance\(\w+, CheckpointHook\)': 'runs.py',
    r"rpartition\('\.'\)\[2\] if isinstance": '',
    r"__name__', str\(": 'type_names.py',
    r'--force (.\s+.)?overwrites': 'files/existing.py',
}


def part_of(parts):
    """Return the part of the package, a folder or a module, that a path in it belongs to."""
    return Path(parts[0]).stem


def imported(path):
    """Return the parts of the package that a module imports, wherever in it."""
    inside = path.relative_to(PACKAGE).parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = (node.module or '').split('.')
        if node.level == 0:
            if module[0] != 'mmadapt':
                continue
            names = module[1:]
        else:
            names = [*inside[: len(inside) - node.level], *filter(None, module)]
        found |= {names[0]} if names else {alias.name for alias in node.names}
    return found


def known():
    """Return which parts each part of the package imports."""
    knows = {}
    for path in sorted(PACKAGE.rglob('*.py')):
        parts = path.relative_to(PACKAGE).parts
        part = part_of(parts)
        if part in FACES or parts[:1] == ('configs',):
            continue
        knows.setdefault(part, set()).update(imported(path) - {part})
    return knows


def test_a_part_knows_only_those_above_it_on_the_page():
    page = PACKAGE.parent / 'docs' / 'architecture.md'
    rows = re.findall(r'^\| (`.+?) \|', page.read_text(encoding='utf-8'), re.M)
    place = {
        part_of([name.rstrip('/')]): number
        for number, row in enumerate(rows)
        for name in re.findall(r'`([^`]+)`', row)
    }
    # What is not named stands among the modules of the first row.
    upwards = [
        f'{part} imports {other}'
        for part, others in known().items()
        for other in sorted(others)
        if place.get(other, 0) > place.get(part, 0)
    ]
    assert not upwards, upwards


def test_no_part_knows_one_that_knows_it():
    knows = known()
    assert {'hooks', 'runner', 'strategies', 'adapters'} <= knows.keys()
    assert 'peft' in knows['hooks']
    for part, others in knows.items():
        assert others <= knows.keys(), part
    TopologicalSorter(knows).prepare()  # raises CycleError, which names a circle


@pytest.mark.parametrize('pattern', ONCE)
def test_what_several_parts_need_stands_in_one_file(pattern):
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob('*.py')
        if re.search(pattern, path.read_text(encoding='utf-8'))
    }
    assert found == set(ONCE[pattern].split())
