"""Files of single modules, which a run does not read where its checkpoint has their weights."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel, BaseModule, BaseTTAModel
from torch import nn

from mmadapt import UserError
from mmadapt.files.pretrained import covered_modules, initializing
from mmadapt.runs import planned_run


class Backbone(BaseModule):
    def __init__(self):
        super().__init__(dict(type='Pretrained', checkpoint='nowhere/backbone.pth'))
        self.conv = nn.Conv2d(1, 1, 1)


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.backbone = Backbone()

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return inputs


class Averaging(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        return data_samples_list


@pytest.fixture
def run(tmp_path):
    def run(left_out=()):
        state = {k: v for k, v in Model().state_dict().items() if k not in left_out}
        torch.save(dict(state_dict=state), tmp_path / 'whole.pth')
        return planned_run(
            Config(dict(work_dir=str(tmp_path), load_from=str(tmp_path / 'whole.pth')))
        )

    return run


@pytest.mark.parametrize('surround', [lambda model: model, Averaging])
def test_a_file_whose_weights_are_overwritten_is_not_read(surround, run):
    model = surround(Model())
    covered = covered_modules(model, run())
    assert covered == ['backbone']
    with initializing(model, covered):
        model.init_weights()
    assert 'init_weights' not in vars(
        model.backbone if hasattr(model, 'backbone') else model.module.backbone
    )


@pytest.mark.parametrize('surround', [lambda model: model, Averaging])
def test_a_file_that_is_needed_is_read(surround, run):
    model = surround(Model())
    covered = covered_modules(model, run(left_out=['backbone.conv.bias']))
    assert covered == []
    with (
        pytest.raises((UserError, FileNotFoundError), match=r'nowhere/backbone\.pth'),
        initializing(model, covered),
    ):
        model.init_weights()
