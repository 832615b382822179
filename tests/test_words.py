"""American spelling, and one word for one thing, in names, comments, messages and pages."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLACES = ('docs', 'findings', 'mmadapt', 'projects', 'tests', 'tools')
# What a user may write wrong, and is told so.
MISTAKES = ('zero_optimisation',)
STEMS = (
    'author|categor|color|critic|custom|emphas|equal|final|general|harmon|initial|local|material|'
    'maxim|memor|minim|modern|modular|normal|optim|organ|parallel|parameter|quant|random|real|'
    'recogn|regular|serial|special|stabil|standard|summar|symbol|synchron|token|util|vector|visual'
)
NEVER = {
    'z': rf'(?:{STEMS})is(?:e|es|ed|er|ers|ing|ation|ations)\b',
    'or': r'(?:arm|behavi|col|fav|flav|harb|hon|lab|neighb|rum|vap)our',
    'one l': r'(?:cancel|channel|equal|label|level|model|signal|total|travel)l(?:ed|er|ers|ing)\b',
    'se, er, log and others': r'\b(?:analys(?:e|ed|er|ing)|artefact|catalogu|centre|defence|dialogu|'
    r'fibre|fulfil\b|grey|judgemen|licence|metre|practis|programme\b|sceptic|whilst)',
    'image': r'\bpictures?\b',
}


def texts():
    files = [path for place in PLACES for path in sorted((ROOT / place).rglob('*'))]
    for path in [*ROOT.glob('*.*'), ROOT / 'Makefile', *files]:
        if path.suffix in ('', '.cff', '.md', '.py', '.sh', '.toml', '.txt', '.yml') and (
            path.is_file() and path != Path(__file__).resolve()
        ):
            yield path, path.read_text(encoding='utf-8')


@pytest.mark.parametrize('instead', NEVER)
def test_a_word_is_spelled_as_the_field_spells_it(instead):
    found = [
        f'{path.relative_to(ROOT)}: {hit[0]}'
        for path, text in texts()
        for hit in re.finditer(rf'\w*{NEVER[instead]}', text, re.IGNORECASE)
        if hit[0] not in MISTAKES
    ]
    assert not found, '\n'.join(['', *found])
