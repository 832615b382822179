#!/usr/bin/env bash
# pycocotools 2.0.11: with params.maxDets of one's own, as MMDetection sets it to (100, 300, 1000), one summary mixes two
# limits: AP (0.50:0.95) is read at 100 detections, whatever maxDets says, while AP50, AP75 and the AP of the three sizes
# are read at maxDets[2]. An image with 150 objects, all of them found exactly:
#   maxDets (1, 10, 100)     -> AP 0.663, AP50 0.663
#   maxDets (100, 300, 1000) -> AP 0.663, AP50 1.000
# So a perfect detector of crowds or cells has AP 0.66 beside AP50 1.00, and AP50 is not comparable between tools.
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
from pycocotools.cocoeval import COCOeval

boxes = [[20 * (i % 15), 20 * (i // 15), 10, 10] for i in range(150)]
found = {}
with contextlib.redirect_stdout(io.StringIO()):
    truth = COCO()
    truth.dataset = dict(
        images=[dict(id=1, width=300, height=200)], categories=[dict(id=1, name='cell')],
        annotations=[dict(id=i + 1, image_id=1, category_id=1, bbox=box, area=100, iscrowd=0)
                     for i, box in enumerate(boxes)])
    truth.createIndex()
    predicted = truth.loadRes([dict(image_id=1, category_id=1, bbox=box, score=0.9)
                               for box in boxes])
    for limits in ((1, 10, 100), (100, 300, 1000)):
        evaluation = COCOeval(truth, predicted, 'bbox')
        evaluation.params.maxDets = list(limits)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        found[limits] = [round(float(value), 3) for value in evaluation.stats[:2]]
print(found)
assert found == {(1, 10, 100): [0.663, 0.663], (100, 300, 1000): [0.663, 1.0]}, \
    'the behavior has changed'
PYTHON
