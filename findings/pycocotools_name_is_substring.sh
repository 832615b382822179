#!/usr/bin/env bash
# pycocotools 2.0.11: COCO.getCatIds takes one category name as a string, as its docstring's "get cats for given cat
# names" suggests, but then keeps every category whose name is a *substring* of it: the check for "is this a list" asks
# for __iter__ and __len__, which a str has, and the filter is `name in catNms`. With the categories at, cat, dog and a:
#   getCatIds(catNms='cat')   -> [0, 1, 3]     (at, cat, a)
#   getCatIds(catNms=['cat']) -> [1]
# Everything that is built on it inherits this, for instance a data set whose `classes` is ('face') without the comma.
# Seen with Python 3.11, numpy 2.4.6.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pycocotools==2.0.11 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import contextlib
import io

from pycocotools.coco import COCO

names = ['at', 'cat', 'dog', 'a']
with contextlib.redirect_stdout(io.StringIO()):
    coco = COCO()
    coco.dataset = dict(images=[], annotations=[],
                        categories=[dict(id=i, name=name) for i, name in enumerate(names)])
    coco.createIndex()
found = {str(asked): coco.getCatIds(catNms=asked) for asked in ('cat', ['cat'], 'dog')}
print(found)
assert found == {'cat': [0, 1, 3], "['cat']": [1], 'dog': [2]}, 'the behavior has changed'
PYTHON
