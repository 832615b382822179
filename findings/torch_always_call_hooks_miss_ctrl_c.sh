#!/usr/bin/env bash
# torch 2.11.0: a forward hook that is registered with always_call=True "will be run regardless of whether an exception is
# raised while calling the Module", as the documentation has it. It runs when the forward pass raises an Exception. It does
# not when what passes through is a KeyboardInterrupt, as of Ctrl-C, or a SystemExit: Module.__call__ catches Exception alone.
# What a hook pair switches on before the forward pass and off behind it then stays on for the rest of a notebook.
#   ValueError: ran; KeyboardInterrupt: did not run; SystemExit: did not run
# Seen with Python 3.11, CPU.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.11.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from torch import nn


class Stopped(nn.Module):
    def forward(self, error):
        raise error


def runs(error):
    model, ran = Stopped(), []
    model.register_forward_hook(lambda *_: ran.append(True), always_call=True)
    try:
        model(error)
    except BaseException as caught:
        assert type(caught) is error
    return 'ran' if ran else 'did not run'


found = {error.__name__: runs(error) for error in (ValueError, KeyboardInterrupt, SystemExit)}
print('; '.join(f'{name}: {what}' for name, what in found.items()))
assert [*found.values()] == ['ran', 'did not run', 'did not run'], 'the behavior has changed'
PYTHON
