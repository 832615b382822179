"""Every file and command that a message names is one that the user has, with a clone or without."""

import ast
import re
from pathlib import Path

import pytest

import mmadapt
from mmadapt_command import COMMANDS

PACKAGE = Path(mmadapt.__file__).parent
FILES = [path for path in sorted(PACKAGE.rglob('*.py')) if 'configs' not in path.parts[-3:]]
# What lies in a clone only.
_CLONE = re.compile(r'\btools/|\bmake (env|demo|test)\b|\bprojects/|\bdocs/|\bfindings/|README')


def messages(path):
    """Return the texts of a module that are no docstrings."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    ]


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_message_names_what_the_user_has(path):
    for text in messages(path):
        assert not _CLONE.search(text), text
        for word in re.findall(r'(?:^|[`(:;] ?|run |or )mmadapt ([a-z]+) [A-Z`]', text):
            assert word in COMMANDS, text


def test_messages_are_found():
    found = [text for path in FILES for text in messages(path)]
    assert any('mmadapt dataset FOLDER --fix' in text for text in found)
    assert any('mmadapt merge CONFIG' in text for text in found)
