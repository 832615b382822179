"""The page on data sets names every problem that is found in one, and no other."""

import importlib
import pkgutil
import re
from pathlib import Path

from mmadapt import datasets
from mmadapt.datasets.problems import Kind

PAGE = Path(__file__).parents[2] / 'docs' / 'datasets.md'


def test_every_kind_of_problem_is_on_the_page():
    modules = pkgutil.walk_packages(datasets.__path__, 'mmadapt.datasets.')
    found = {
        (value.severity, value.title, value.fixable)
        for module in modules
        for value in vars(importlib.import_module(module.name)).values()
        if isinstance(value, Kind)
    }
    text = PAGE.read_text(encoding='utf-8')
    rows = re.findall(r'^\| (error|warning|note)(, \*fix\*)? \| (.+?) \|', text, re.M)
    assert {(severity, title, bool(fix)) for severity, fix, title in rows} == found
