"""Private names that the package uses and has not defined itself, read from its sources."""

import ast
import functools
import importlib
import inspect
import pkgutil
import textwrap
from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import Path

import mmadapt

PACKAGE = Path(mmadapt.__file__).parent
_BY_PYTHON = {'_abc_impl', '_backward_cls'}  # by metaclasses
_ACCESS = ('getattr', 'setattr', 'hasattr', 'delattr')


def is_private(name):
    """Return whether a name begins with an underscore, and is neither `_` nor a Python's own."""
    return (
        name.isidentifier()
        and name.startswith('_')
        and bool(name.strip('_'))
        and not (name.startswith('__') and name.endswith('__'))
    )


def uses_in(source):
    """Return the private names that a module uses and does not define, patterns with a star too.

    A name counts as defined by a class, a function, a variable or ``self.name = ...``. It is used
    by an import, whose whole path is returned, as an attribute of anything, or as a string; a path
    in a string is returned whole, and of an f-string only what ``getattr`` and the like are given.
    """
    tree = ast.parse(source)
    parts_of_text = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
    }
    defined, used = _defined(tree), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in ('self', 'cls')
            used |= {node.attr} - (defined if own else set())
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            used |= {f'{node.module}.{alias.name}' for alias in node.names}
        elif isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names}
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in parts_of_text
            and ' ' not in node.value
        ):
            used |= {node.value} - defined
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, 'id', None) in _ACCESS
            and isinstance(node.args[1], ast.JoinedStr)
        ):
            used.add(
                ''.join(
                    part.value if isinstance(part, ast.Constant) else '*'
                    for part in node.args[1].values
                )
            )
    return {
        name
        for name in used
        if any(is_private(part.replace('*', 'x')) for part in name.split('.'))
        and all(part.replace('*', 'x').isidentifier() for part in name.split('.'))
        and ('.' not in name or not name.startswith('_'))
    }


def _defined(tree):
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.For) or (isinstance(node, ast.AnnAssign) and node.value):
            targets = [node.target]
        else:  # a type alone is what is known of a name of another's
            targets = []
        for target in targets:
            for part in ast.walk(target):
                if isinstance(part, ast.Name):
                    found.add(part.id)
                elif isinstance(part, ast.Attribute) and getattr(part.value, 'id', '') == 'self':
                    found.add(part.attr)
    return found


def all_uses():
    """Return the files of the package that use a private name, by the name or the whole path."""
    found = defaultdict(set)
    for path in sorted(PACKAGE.rglob('*.py')):
        file = path.relative_to(PACKAGE)
        if file.parts[0] != 'configs':
            for name in uses_in(path.read_text(encoding='utf-8')):
                found[name].add(file.as_posix())
    return found


def overrides():
    """Return the files whose classes define a private name that a foreign class above them has."""
    found = defaultdict(set)
    for info in pkgutil.walk_packages([str(PACKAGE)], 'mmadapt.'):
        if '.configs.' in info.name or info.name.endswith('__main__'):
            continue
        try:
            module = importlib.import_module(info.name)
        except ImportError as error:
            if (error.name or 'mmadapt').startswith('mmadapt'):
                raise
            continue  # of an extra that is not installed
        for cls in vars(module).values():
            if inspect.isclass(cls) and cls.__module__ == info.name:
                foreign = [
                    base
                    for base in cls.__mro__[1:-1]
                    if base.__module__.split('.')[0] not in ('mmadapt', 'builtins')
                ]
                for name in filter(is_private, {*vars(cls), *_stored(cls)} - _BY_PYTHON):
                    if any(name in vars(base) or name in _stored(base) for base in foreign):
                        file = Path(inspect.getfile(cls)).relative_to(PACKAGE)
                        found[name].add(file.as_posix())
    return found


def exists(path):
    """Return whether there is what a full name says: in a module, a class, or set by its methods.

    Raises:
        ImportError: Its package is not installed.
    """
    parts = path.split('.')
    owner, rest = importlib.import_module(parts[0]), parts[1:]
    for number, name in enumerate(rest):
        if not hasattr(owner, name) and inspect.ismodule(owner):
            try:
                importlib.import_module(f'{owner.__name__}.{name}')
            except ImportError:
                return False
        if not hasattr(owner, name):
            return (
                number == len(rest) - 1
                and inspect.isclass(owner)
                and any(name in _stored(cls) for cls in owner.__mro__)
            )
        owner = getattr(owner, name)
    return True


@functools.cache
def _stored(cls):
    """Return the attributes that the code of a class sets, of itself or of what it makes."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return set()  # of C
    found = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    # As torch sets many: super().__setattr__('name', value)
    return found | {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and len(node.args) > 1
        and getattr(node.func, 'attr', '') == '__setattr__'
        and isinstance(node.args[0], ast.Constant)
    }


def matches(used, path):
    """Return whether a full name is one that a use can mean."""
    if '.' in used:
        return path == used
    return any(fnmatchcase(part, used) for part in path.split('.'))


def mentions(source):
    """Return all attributes and strings of a module, and all that it imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names}
    return found
