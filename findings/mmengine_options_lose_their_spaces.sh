#!/usr/bin/env bash
# MMEngine 0.10.7: DictAction, by which every OpenMMLab tool reads --cfg-options, removes all spaces of a value, quoted or
# not, within names too. A folder's name becomes another folder's and 'traffic light' another class, without a word;
# the same values in a config file stay what they are. Output:
#   data_root=/data/my images/ -> '/data/myimages/'
#   classes=['traffic light','stop sign'] -> ['trafficlight', 'stopsign']
# Seen with Python 3.11, torch 2.11.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mmengine==0.10.7 opencv-python-headless==5.0.0.93 torch==2.11.0 numpy==2.4.6 setuptools==80.9.0
cat > "$folder/read.py" <<'PYTHON'
import argparse
import sys

from mmengine.config import DictAction

parser = argparse.ArgumentParser()
parser.add_argument('--cfg-options', nargs='+', action=DictAction)
for word, value in zip(sys.argv[2:], parser.parse_args().cfg_options.values()):
    print(f'{word} -> {value!r}')
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/read.py" --cfg-options 'data_root=/data/my images/' "classes=['traffic light','stop sign']" | tee "$folder/output"
diff "$folder/output" - <<'TEXT' || { echo 'the behavior has changed' >&2; exit 1; }
data_root=/data/my images/ -> '/data/myimages/'
classes=['traffic light','stop sign'] -> ['trafficlight', 'stopsign']
TEXT
