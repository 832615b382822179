#!/usr/bin/env bash
# MMEngine 0.10.7: Config.pretty_text formats the config with yapf within a bare `except:` that raises SyntaxError
# ("Failed to format the config file, please check the syntax of: ..." and the whole text). A Ctrl-C that arrives
# meanwhile thus becomes a SyntaxError about a config that is right. Runner.save_checkpoint formats the config at every
# save (0.3 s of a detector's), so that a run that is interrupted while it saves ends in hundreds of lines of it. Here
# SIGINT, as of a Ctrl-C, 1 s after the call, on a config of 2,000 keys:
#   raised: SyntaxError, not KeyboardInterrupt
# Seen with Python 3.11, torch 2.11.0, yapf 0.43.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mmengine==0.10.7 yapf==0.43.0 torch==2.11.0 numpy==2.4.6 'setuptools<81'
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import signal

from mmengine.config import Config

config = Config({f'key_{i}': dict(type='Thing', value=[i] * 20) for i in range(2000)})
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
signal.setitimer(signal.ITIMER_REAL, 1)
try:
    config.pretty_text
    raised = None
except BaseException as error:
    raised = type(error).__name__
print('raised:', raised)
assert raised == 'SyntaxError', 'the behavior has changed'
PYTHON
