"""The documentation: its examples run, and what it names is there."""

import ast
import doctest
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import pytest
from mmengine.config import Config
from stock_runs import write_data

import mmadapt
from mmadapt.config_files import config_names
from mmadapt.errors import UserError
from mmadapt_command import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
PAGES = [
    *sorted(ROOT.glob('*.md')),
    *sorted(DOCS.rglob('*.md')),
    *sorted((ROOT / 'projects').rglob('*.md')),
]
# What is said by other packages, or put together of parts.
NOT_OURS = (
    'torchvision::nms',
    'Float but found',
    'import cv2 fails',
    'NoneType takes',
    'a step of',
    'not implemented for',
    'AP on several',
    'GLOBAL mmadapt',
    'no module ensurepip',
    'warms up until',
    'CachedMosaic',
    'No space left',
    'peft has no key',
)


def named(path):
    return str(path.relative_to(ROOT))


def fenced(page, language):
    """Return the fenced blocks of a page in a language."""
    return re.findall(rf'^```{language}\n(.*?)^```', page.read_text(encoding='utf-8'), re.M | re.S)


def test_the_examples_in_python_run(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    text = '\n'.join(fenced(DOCS / 'python.md', 'pycon'))
    test = doctest.DocTestParser().get_doctest(text, {}, 'python.md', None, 0)
    assert len(test.examples) > 40
    said = []
    failed, _ = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert not failed, ''.join(said)


def test_a_method_a_layer_and_a_strategy_are_added_as_the_page_says(tmp_path):
    blocks = fenced(DOCS / 'extending.md', 'python')
    assert len(blocks) == 6
    # In a process of its own: what it registers is none of the other tests' business.
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    env = dict(os.environ, PYTHONPATH=path)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', '\n'.join(blocks)],
        cwd=tmp_path,
        env=env,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'work_dirs' / 'small' / 'epoch_1.pth').is_file()
    assert (tmp_path / 'work_dirs' / 'small' / 'adapter').is_dir()


def test_the_configs_are_read_beside_what_the_command_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / 'data' / 'my_faces'
    write_data(data)
    (data / 'val').rename(data / 'validation')
    for split, place in (('train', 'train'), ('val', 'validation')):
        (data / f'{split}.json').rename(data / place / 'annotations_coco.json')
    import_module('mmadapt.commands.dataset').main(
        ['data/my_faces', '--out', 'my_faces.py', '--skip-test']
    )
    three, _, whole = fenced(DOCS / 'adapting.md', 'python')
    for page in (ROOT / 'README.md', DOCS / 'index.md'):
        assert fenced(page, 'python')[0] == three
    for name, text in (('three.py', three), ('whole.py', whole)):
        Path(name).write_text(text)
        cfg = Config.fromfile(name)
        assert cfg.peft.method.type == 'LoRA'
        assert cfg.custom_hooks[-1].type == 'PEFTInjectHook'
    assert cfg.model.bbox_head.num_classes == 2
    assert cfg.train_dataloader.dataset.ann_file == 'train/annotations_coco.json'
    assert json.loads(Path(cfg.val_evaluator.ann_file).read_text())['images']
    assert [schedule.type for schedule in cfg.param_scheduler] == ['CosineAnnealingLR']


def commands(page):
    """Return the lines of a page that call `mmadapt`, in words."""
    for block in fenced(page, 'bash'):
        for line in block.replace('\\\n', ' ').splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ['mmadapt']:
                yield words[1:]


@pytest.mark.parametrize('page', [page for page in PAGES if any(commands(page))], ids=named)
def test_every_command_is_one_that_can_be_typed(page, monkeypatch):
    monkeypatch.delenv('LOCAL_RANK', raising=False)
    for name, *words in commands(page):
        assert name in COMMANDS
        try:
            import_module(f'mmadapt.commands.{name}').parse_args(words)
        except UserError as error:
            pytest.fail(f'{named(page)}: {error}')


def test_commands_are_found():
    found = {name for page in PAGES for name, *_ in commands(page)}
    assert found == set(COMMANDS)


def test_every_subcommand_is_on_the_page_of_commands():
    text = (DOCS / 'commands.md').read_text()
    assert all(f'| `mmadapt {name}' in text for name in COMMANDS)


def test_every_whole_config_is_on_the_page_of_models():
    rows = re.findall(r'^\|.*\| `(peft/.+?)` \|', (DOCS / 'models.md').read_text(), re.M)
    assert sorted(rows) == [name for name in config_names() if not name.startswith('_base_/')]


def test_every_part_of_the_package_is_on_the_page_of_architecture():
    rows = re.findall(r'^\| (`.+?) \|', (DOCS / 'architecture.md').read_text(), re.M)
    told = {name.rstrip('/') for row in rows for name in re.findall(r'`([^`]+)`', row)}
    package = Path(mmadapt.__file__).parent
    assert {path.name for path in package.iterdir() if [*path.rglob('*.py')]} <= told
    assert all((package / name).exists() for name in told)


@pytest.mark.parametrize('page', PAGES, ids=named)
def test_every_link_and_every_file_that_is_named_is_there(page):
    text = page.read_text(encoding='utf-8')
    for target in re.findall(r'\]\(([^)#\s]+)', text):
        if '://' not in target:
            place = DOCS if page.parent == DOCS else page.parent
            assert (place / target).exists(), target
    folders = 'mmadapt|tests|tools|requirements|docs|projects'
    for name in re.findall(rf'`((?:{folders})/[\w./*-]+?)(?:::\w+)?`', text):
        assert any(ROOT.glob(name)), name
    for name in re.findall(r"base\('([^']+)'\)", text):
        assert Path(mmadapt.base(name)).is_file()
    bases = Path(mmadapt.base('peft/lora.py')).parents[1]
    kinds = '|'.join(folder.name for folder in bases.iterdir())
    for name in re.findall(rf'`((?:{kinds})/[\w-]+\.py)`', text):
        assert (bases / name).is_file() or (bases.parent / name).is_file(), name


def said_in_the_code():
    """Return the texts in the package and the tools, each without what is filled into it."""
    texts = []
    for path in [*(ROOT / 'mmadapt').rglob('*.py'), *(ROOT / 'tools').rglob('*.py')]:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.JoinedStr):
                texts.append(
                    '\0'.join(part.value for part in node.values if isinstance(part, ast.Constant))
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def test_every_message_in_the_tables_is_one_that_is_said():
    texts = said_in_the_code()
    rows = re.findall(r'^\| (.+?) \| .+ \|$', (DOCS / 'troubleshooting.md').read_text(), re.M)
    messages = [message for row in rows for message in re.findall(r'`([^`]+)`', row)]
    assert len(messages) > 40
    unsaid = []
    for message in messages:
        if any(part in message for part in NOT_OURS):
            continue
        # What is left of it without names, numbers and what is left out.
        pieces = [
            piece.strip(' :;,.()')
            for piece in re.split(r"\.\.\.|'[^']*'|[\w.%=-]*\d[\w.%=-]*|LoRA", message)
        ]
        longest = max(pieces, key=len)
        if not any(longest in text.replace('`', '') for text in texts):
            unsaid.append(f'{message}: {longest!r}')
    assert not unsaid


def test_the_version_is_said_once():
    version = mmadapt.__version__
    assert f'\nversion: {version}\n' in (ROOT / 'CITATION.cff').read_text()
    assert f'\n## {version} ' in (ROOT / 'CHANGELOG.md').read_text()
