#!/usr/bin/env bash
# MMSegmentation 1.2.2: its wheel installs a top-level package `tests` beside `mmseg` (with an `__init__.py`), and so does
# model-index 0.1.11, which MMPretrain and openmim bring. A project whose own folder `tests` has no `__init__.py`, as
# pytest's importlib mode wants it, then loses it: Python prefers a regular package anywhere on its path to a folder
# without one in the first place. pytest still runs such tests, as it reads them by their files; a process that a test
# starts with a function of its own (multiprocessing's spawn, torch's) cannot import it any more. Output:
#   without: own tests
#   with mmsegmentation: ModuleNotFoundError: No module named 'tests.mine', tests is .../site-packages/tests
#   with model-index: ModuleNotFoundError: No module named 'tests.mine', tests is .../site-packages/tests
# Seen with Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/project/tests"
echo "print('own tests')" > "$folder/project/tests/mine.py"
cat > "$folder/find.py" <<'PYTHON'
import sys
from pathlib import Path

sys.path[0] = ''
try:
    print(f'{sys.argv[1]}: ', end='')
    import tests.mine
except ModuleNotFoundError as error:
    place = '/'.join(Path(sys.modules['tests'].__path__[0]).parts[-2:])
    print(f'ModuleNotFoundError: {error}, tests is .../{place}')
PYTHON
cd "$folder/project"
for package in '' mmsegmentation==1.2.2 model-index==0.1.11; do
  python3 -m venv --clear "$folder/venv"
  name=without
  if [ -n "$package" ]; then
    "$folder/venv/bin/pip" install --quiet --no-deps "$package"
    name="with ${package%%==*}"
  fi
  "$folder/venv/bin/python" "$folder/find.py" "$name" | tee -a "$folder/output"
done
diff "$folder/output" - <<'TEXT' || { echo 'the behavior has changed' >&2; exit 1; }
without: own tests
with mmsegmentation: ModuleNotFoundError: No module named 'tests.mine', tests is .../site-packages/tests
with model-index: ModuleNotFoundError: No module named 'tests.mine', tests is .../site-packages/tests
TEXT
