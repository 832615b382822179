#!/usr/bin/env bash
# globox 2.9.0 reads a YOLO data set by its label files, so that an image without one, which Ultralytics' layout counts as
# an image of background, is not in the set that comes out, nor in a COCO file written from it; an image whose label file
# is there and empty is. Nothing is said, and the number of images alone tells.
#   images a, b and c; labels a.txt with a box, b.txt empty, none for c
#   from_yolo_v5 -> a.jpg, b.jpg
# Of Pascal VOC it drops `difficult`, by which such objects are left out of training and evaluation: the box comes out like
# any other, and the COCO file written from it says iscrowd 0.
# Seen with Python 3.11, numpy 2.4.6, pillow 13.0.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet globox==2.9.0 numpy==2.4.6 pillow==13.0.0
cd "$folder"
venv/bin/python - <<'PYTHON'
import json
from pathlib import Path

from globox import AnnotationSet
from PIL import Image

Path('images').mkdir()
Path('labels').mkdir()
Path('xml').mkdir()
for name in 'abc':
    Image.new('RGB', (100, 50)).save(f'images/{name}.jpg')
Path('labels/a.txt').write_text('0 0.5 0.5 0.2 0.4\n')
Path('labels/b.txt').write_text('')
read = AnnotationSet.from_yolo_v5(folder='labels', image_folder='images')
names = sorted(read.image_ids)
print('YOLO:', names)
assert names == ['a.jpg', 'b.jpg'], 'the behavior has changed'

Path('xml/a.xml').write_text(
    '<annotation><filename>a.jpg</filename>'
    '<size><width>100</width><height>50</height><depth>3</depth></size>'
    '<object><name>cat</name><difficult>1</difficult>'
    '<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>30</xmax><ymax>30</ymax></bndbox></object>'
    '</annotation>'
)
read = AnnotationSet.from_pascal_voc('xml')
read.save_coco('voc.json', auto_ids=True)
annotations = json.loads(Path('voc.json').read_text())['annotations']
print('VOC:', annotations)
(box,) = annotations
assert not box.get('iscrowd') and not box.get('ignore'), 'the behavior has changed'
PYTHON
