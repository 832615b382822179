#!/usr/bin/env bash
# torch 2.11.0: under saved-tensor hooks, even ones that change nothing, autograd no longer notices that a saved tensor is
# written into before the backward pass. Without hooks that is the well-known RuntimeError; with hooks, torch's own
# save_on_cpu among them (which copies nothing of a tensor that is on the CPU already), backward() goes through and the
# gradient is computed with the new values. y = 2x at x = 1, z = y^2, then y.add_(10): dz/dx is 8 for what was computed.
#   no hooks: RuntimeError; identity: 48; save_on_cpu: 48
# Seen with Python 3.11, CPU.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.11.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from contextlib import nullcontext

import torch
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks


def gradient(context):
    x = torch.tensor([1.0], requires_grad=True)
    with context:
        y = x * 2
        z = y.square()
    with torch.no_grad():
        y.add_(10)
    try:
        z.backward()
    except RuntimeError as error:
        return type(error).__name__
    return x.grad.item()


found = (
    gradient(nullcontext()),
    gradient(saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)),
    gradient(save_on_cpu()),
)
print('no hooks: %s; identity: %s; save_on_cpu: %s' % found)
assert found == ('RuntimeError', 48.0, 48.0), 'the behavior has changed'
PYTHON
