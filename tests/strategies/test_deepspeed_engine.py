"""What DeepSpeed's start leaves on a model where it fails."""

import pytest
import torch

from mmadapt import UserError
from mmadapt.strategies.deepspeed import engine
from mmadapt.strategies.processes import start_alone


@pytest.fixture
def model():
    model = torch.nn.Module()
    model.scale = torch.nn.Parameter(torch.tensor(2.5))
    model.weight = torch.nn.Parameter(torch.ones(3))
    return model


def check_unmarked(model):
    for parameter in model.parameters():
        assert not [name for name in vars(parameter) if name.startswith('ds_')]
    assert model.scale.shape == ()
    assert model.scale.item() == 2.5


@pytest.mark.parametrize('stage', [1, 2, 3])
def test_an_error_leaves_nothing_on_the_parameters(stage, model):
    def fail():
        with engine._broadcastable_scalars(model, stage):
            raise ValueError('of a setting')

    with pytest.raises(ValueError, match='of a setting'):
        fail()
    check_unmarked(model)


@pytest.mark.parametrize('stage', [2, 3])
def test_a_setting_that_deepspeed_refuses_leaves_nothing_on_the_parameters(stage, model):
    pytest.importorskip('deepspeed')
    start_alone(offload=False)
    settings = dict(
        zero_optimization=dict(stage=stage, reduce_bucket_size='many'),
        train_micro_batch_size_per_gpu=1,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(UserError, match='strategy.zero_optimization.reduce_bucket_size'):
        engine.initialize(model, optimizer, settings)
    check_unmarked(model)
