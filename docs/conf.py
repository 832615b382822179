"""How Sphinx builds this documentation: `make docs`."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the package of this checkout, whatever is installed

project = 'mmadapt'
author = 'the mmadapt authors'
copyright = author
release = re.search(r"= '(.+)'", (ROOT / 'mmadapt' / 'version.py').read_text())[1]

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.mathjax',
    'sphinxcontrib.mermaid',
]

# GitHub shows the same files: diagrams stand in ordinary fences, links lead to files.
myst_fence_as_directive = ['mermaid']
myst_heading_anchors = 3
myst_enable_extensions = ['colon_fence']

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'  # the docstrings have the types
autodoc_default_options = {'show-inheritance': True}
napoleon_numpy_docstring = False

html_theme = 'furo'
html_title = f'mmadapt {release}'
