#!/usr/bin/env bash
# MMEngine 0.10.7: a run that is resumed for more epochs keeps the schedule of the checkpoint, whatever its config says,
# and that one is over: where `end` is not given, the number of epochs of the first run stands in the checkpoint as it. A
# schedule that the config has beyond those of the checkpoint counts from the moment of resuming. Nothing is said. Here
# two epochs are trained with milestones=[3], and resumed up to the sixth with milestones=[5] and a second schedule with
# milestones=[4]: by the config the rate is 1 in epochs 3 and 4, 0.1 in the fifth and 0.01 in the sixth; by that of the
# first run it is 0.1 from the fourth on. Output:
#   epoch 3: 1
#   epoch 4: 1
#   epoch 5: 1
#   epoch 6: 1
# Seen with Python 3.11, torch 2.11.0, CPU.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mmengine==0.10.7 opencv-python-headless==5.0.0.93 torch==2.11.0 numpy==2.4.6 setuptools==80.9.0
cat > "$folder/run.py" <<'PYTHON'
import sys

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.layer(inputs).mean())


class Show(Hook):
    def before_train_epoch(self, runner):
        if resumed:
            print(f'epoch {runner.epoch + 1}: {runner.optim_wrapper.get_lr()["lr"][0]:.4g}')


def train(epochs, *milestones):
    Runner(
        Model(),
        sys.argv[1],
        train_dataloader=DataLoader([dict(inputs=torch.ones(1))], batch_size=1),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0)),
        param_scheduler=[dict(type='MultiStepLR', milestones=[m], gamma=0.1) for m in milestones],
        custom_hooks=[Show()],
        resume=resumed,
        experiment_name=f'resumed_{resumed}',
        log_level='ERROR',
    ).train()


resumed = False
train(2, 3)
resumed = True
train(6, 5, 4)
PYTHON
# From torch 2.6 on MMEngine reads its own checkpoints only with this.
TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 "$folder/venv/bin/python" -W ignore "$folder/run.py" "$folder/work" 2>"$folder/log" | grep '^epoch' | tee "$folder/output"
if grep -iq 'schedul' "$folder/log"; then echo 'the behavior has changed: something is said' >&2; exit 1; fi
diff "$folder/output" - <<'TEXT' || { echo 'the behavior has changed' >&2; exit 1; }
epoch 3: 1
epoch 4: 1
epoch 5: 1
epoch 6: 1
TEXT
