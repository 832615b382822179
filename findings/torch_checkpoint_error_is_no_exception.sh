#!/usr/bin/env bash
# torch 2.11.0: torch.distributed.checkpoint.load reports every failure of reading (another shape, a missing key) by
# CheckpointException, which derives from BaseException, not from Exception. `except Exception` around a load, the usual
# guard of a command-line tool or a server, does not catch it; it passes like a KeyboardInterrupt. Loading a tensor of
# three values into one of four, in one process without a process group:
#   caught by `except Exception`: no; CheckpointException, bases: BaseException
# Seen with Python 3.11, CPU.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.11.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - "$folder/saved" <<'PYTHON'
import sys

import torch
import torch.distributed.checkpoint as dcp

dcp.save(dict(weight=torch.zeros(3)), checkpoint_id=sys.argv[1], no_dist=True)
try:
    try:
        dcp.load(dict(weight=torch.zeros(4)), checkpoint_id=sys.argv[1], no_dist=True)
        caught = None
    except Exception:
        caught = 'yes'
except BaseException as error:
    caught = f'no; {type(error).__name__}, bases: {type(error).__bases__[0].__name__}'
print('caught by `except Exception`:', caught)
assert caught == 'no; CheckpointException, bases: BaseException', 'the behavior has changed'
PYTHON
