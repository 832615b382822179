"""What `make lint` and the hooks of pre-commit check, and with which versions."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r'^([A-Za-z0-9_.-]+)==(\S+)', re.MULTILINE)


def pins(file):
    return dict(PIN.findall(file.read_text(encoding='utf-8')))


def hooks():
    config = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text(encoding='utf-8'))
    return [hook for repo in config['repos'] for hook in repo['hooks']]


def test_a_hook_has_the_version_that_lint_has():
    pinned = pins(ROOT / 'requirements/dev.txt')
    used = [
        PIN.match(line).groups() for hook in hooks() for line in hook['additional_dependencies']
    ]
    assert ('ruff', pinned['ruff']) in used
    assert {name: pinned.get(name, version) for name, version in used} == dict(used)
    assert len(set(used)) == len(dict(used))


def test_what_lint_runs_is_pinned_in_one_place():
    recipe = re.search(r'^lint:.*\n((?:\t.*\n)+)', (ROOT / 'Makefile').read_text(), re.MULTILINE)[1]
    tools = set(re.findall(r'\.venv/bin/(\w+)', recipe))
    assert tools == {'ruff', 'mypy'}
    for tool in tools:
        named = [file.name for file in (ROOT / 'requirements').glob('*.txt') if tool in pins(file)]
        assert named == ['dev.txt']


def test_a_file_that_is_not_formatted_is_named(tmp_path):
    (tmp_path / 'wrong.py').write_text('one   = 1\n', encoding='utf-8')
    (tmp_path / 'right.py').write_text('one = 1\n', encoding='utf-8')
    line = re.search(r'ruff (format --check .*) \. \|\|', (ROOT / 'Makefile').read_text())[1]
    command = [sys.executable, '-m', 'ruff', *line.split(), '--no-cache', '.']
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode
    assert [line.split(':')[0] for line in found.stdout.splitlines()] == ['wrong.py']


def test_style_and_docstrings_are_right():
    check = [sys.executable, '-m', 'ruff', 'check', '--quiet', '--no-cache', str(ROOT)]
    found = subprocess.run(check, capture_output=True, text=True, cwd=ROOT)
    assert not found.returncode, found.stdout + found.stderr


def test_a_docstring_that_leaves_out_an_argument_is_found(tmp_path):
    wrong = tmp_path / 'wrong.py'
    text = '"""A module."""\n\n\ndef add(one: int, two: int) -> int:\n    """Add.\n\n{}    """\n    return one + two\n'
    config = ['--config', str(ROOT / 'pyproject.toml'), '--output-format=json']
    found = {}
    for name, section in {
        'D417': '    Args:\n        one (int): One.\n\n    Returns:\n        int: It.\n',
        'DOC102': '    Args:\n        one (int): One.\n        two (int): Two.\n        three (int): None.\n\n    Returns:\n        int: It.\n',
        'DOC201': '    Args:\n        one (int): One.\n        two (int): Two.\n',
    }.items():
        wrong.write_text(text.format(section), encoding='utf-8')
        check = [sys.executable, '-m', 'ruff', 'check', '--no-cache', *config, str(wrong)]
        found[name] = subprocess.run(check, capture_output=True, text=True).stdout
    assert all(f'"{name}"' in said for name, said in found.items()), found
