#!/usr/bin/env bash
# MMEngine 0.10.7: CheckpointHook with max_keep_ckpts=1 deletes the checkpoint that it keeps before it writes the next
# one, not after. While epoch 2 is being saved the folder has no checkpoint at all, so that a run which is killed then,
# or finds the disk full, has lost everything. What a hook sees at Runner.save_checkpoint's before_save_checkpoint, whose
# checkpoint is not yet written:
#   epoch 1: []
#   epoch 2: []      (epoch_1.pth was there a moment before)
#   at the end: ['epoch_2.pth']
# Seen with Python 3.11, torch 2.11.0, CPU.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mmengine==0.10.7 opencv-python-headless==5.0.0.93 torch==2.11.0 numpy==2.4.6 \
  'setuptools<81'
"$folder/venv/bin/python" -W ignore - "$folder/run" <<'PYTHON'
import sys
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

folder, seen = Path(sys.argv[1]), []


class Model(BaseModel):

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.layer(inputs).mean())


class Look(Hook):

    def before_save_checkpoint(self, runner, checkpoint):
        seen.append(sorted(file.name for file in folder.glob('*.pth')))


data = DataLoader([dict(inputs=torch.ones(1)) for _ in range(2)], batch_size=1)
Runner(Model(), str(folder), train_dataloader=data, train_cfg=dict(by_epoch=True, max_epochs=2),
       optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
       default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1)),
       custom_hooks=[Look()], log_level='ERROR').train()
seen.append(sorted(file.name for file in folder.glob('*.pth')))
for when, files in zip(('epoch 1', 'epoch 2', 'at the end'), seen, strict=True):
    print(f'{when}: {files}')
assert seen == [[], [], ['epoch_2.pth']], 'the behavior has changed'
PYTHON
