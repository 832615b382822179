#!/usr/bin/env bash
# MMEngine 0.10.7: a config in the pure-Python form cannot inherit a file of a package that is installed with
# `pip install -e`, although Python imports that very module: MMEngine joins the folder of the distribution's metadata,
# site-packages, with the package's name, and looks for the file there. Neither installing the same package from a wheel
# nor not installing it at all, with its folder on PYTHONPATH, has the problem. Output:
#   on PYTHONPATH only: r=4
#   pip install -e: ConfigParsingError, .../site-packages/somewhere/lora.py not found
#   python imports it from: .../project/somewhere/lora.py
#   pip install: r=4
# Seen with Python 3.11, setuptools 80.9.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/pip" install --quiet)
"${pip[@]}" mmengine==0.10.7 opencv-python-headless==5.0.0.93 torch==2.11.0 numpy==2.4.6 setuptools==80.9.0 wheel==0.45.1
mkdir -p "$folder/project/somewhere"
touch "$folder/project/somewhere/__init__.py"
echo 'adapter = dict(r=4)' > "$folder/project/somewhere/lora.py"
cat > "$folder/project/setup.py" <<'PYTHON'
from setuptools import setup
setup(name='somewhere', version='1.0', packages=['somewhere'])
PYTHON
cat > "$folder/config.py" <<'PYTHON'
from mmengine.config import read_base
with read_base():
    from somewhere.lora import *
PYTHON
cat > "$folder/read.py" <<'PYTHON'
import sys

from mmengine.config import Config
from mmengine.config.utils import ConfigParsingError

try:
    print(f'{sys.argv[2]}: r={Config.fromfile(sys.argv[1]).adapter.r}')
except ConfigParsingError as error:
    print(f'{sys.argv[2]}: ConfigParsingError, {str(error).split("!")[0]}')
    import somewhere.lora
    print(f'python imports it from: {somewhere.lora.__file__}')
PYTHON
read_it() { "$folder/venv/bin/python" -W ignore "$folder/read.py" "$folder/config.py" "$1" | tee -a "$folder/output"; }
PYTHONPATH=$folder/project read_it 'on PYTHONPATH only'
"${pip[@]}" --no-deps --no-build-isolation -e "$folder/project"
read_it 'pip install -e'
"${pip[@]}" --no-deps --no-build-isolation --force-reinstall "$folder/project"
read_it 'pip install'
diff <(sed "s#[^ ]*/\(site-packages\|project\)#.../\1#" "$folder/output") - <<'TEXT' || { echo 'the behavior has changed' >&2; exit 1; }
on PYTHONPATH only: r=4
pip install -e: ConfigParsingError, .../site-packages/somewhere/lora.py not found
python imports it from: .../project/somewhere/lora.py
pip install: r=4
TEXT
