"""What is asked of a run: its model in any nesting, its loops, averages and accumulation."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.model import (
    BaseModel,
    BaseTTAModel,
    ExponentialMovingAverage,
    MMDistributedDataParallel,
)
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import MODEL_WRAPPERS
from torch import nn

from mmadapt import UserError
from mmadapt.runs import (
    accumulative_counts,
    averaged_models,
    averaging_hooks,
    built_loop,
    checkpoint_to_load,
    is_inside_accumulation,
    optim_wrappers,
    planned_run,
    resumes,
    trains,
    unwrap,
)


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.layer(inputs)


class Averaging(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        return data_samples_list


class Wrapper(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module


@pytest.fixture(scope='module')
def process():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture
def wrapper():
    MODEL_WRAPPERS.register_module(name='WrapperOfATest', module=Wrapper)
    yield Wrapper
    MODEL_WRAPPERS.module_dict.pop('WrapperOfATest')


def test_a_model_that_nothing_surrounds_is_itself():
    model = Model()
    assert unwrap(model) is model


def test_a_model_is_found_in_any_nesting(process, wrapper):
    model = Model()
    for nested in (
        MMDistributedDataParallel(model),
        Averaging(model),
        MMDistributedDataParallel(Averaging(model)),
        Averaging(MMDistributedDataParallel(model)),
        wrapper(Averaging(MMDistributedDataParallel(model))),
        wrapper(wrapper(Averaging(Averaging(model)))),
        torch.compile(model),
        MMDistributedDataParallel(torch.compile(model)),
        torch.compile(wrapper(Averaging(model))),
    ):
        assert unwrap(nested) is model, nested


def test_what_only_has_a_module_is_no_wrapper():
    model = Wrapper(Model())
    assert unwrap(model) is model


def test_the_averages_are_the_copies_of_the_model_itself(process):
    model, hooks = Model(), [EMAHook(), Hook(), EMAHook()]
    for hook in averaging_hooks(hooks):
        hook.ema_model = ExponentialMovingAverage(Averaging(model))
    runner = SimpleNamespace(hooks=hooks)
    assert averaging_hooks(hooks) == [hooks[0], hooks[2]]
    copies = averaged_models(runner)
    assert [*map(type, copies)] == [Model, Model]
    assert copies[0] is hooks[0].ema_model.module.module


def test_a_loop_is_there_once_it_is_built():
    class Loop:
        pass

    config = dict(type='EpochBasedTrainLoop', max_epochs=1)
    runner = SimpleNamespace(_train_loop=config, _val_loop=None, _test_loop=Loop())
    assert [built_loop(runner, name) for name in ('train', 'val', 'test')] == [None] * 3
    assert not trains(runner)


def test_of_an_accumulation_it_is_known_whether_gradients_wait():
    model = Model()
    single = OptimWrapper(torch.optim.SGD(model.parameters(), 0.1), accumulative_counts=2)
    double = OptimWrapperDict(a=single, b=OptimWrapper(torch.optim.SGD(model.parameters(), 0.1)))
    assert optim_wrappers(single) == [single]
    assert optim_wrappers(double)[0] is single
    assert len(optim_wrappers(double)) == 2
    assert (accumulative_counts(single), accumulative_counts(double)) == (2, 1)
    waits = []
    for _ in range(3):
        single.update_params(model(torch.ones(1, 2)).sum())
        assert is_inside_accumulation(double) is is_inside_accumulation(single)
        waits.append(is_inside_accumulation(single))
    assert waits == [True, False, True]


@pytest.mark.parametrize(
    ('load_from', 'resume', 'latest', 'expected'),
    [
        (None, False, 'epoch_1.pth', None),
        ('base.pth', False, 'epoch_1.pth', 'base.pth'),
        (None, True, None, None),
        (None, True, 'epoch_1.pth', 'epoch_1.pth'),
        ('base.pth', True, 'epoch_1.pth', 'base.pth'),
        (None, 'here.pth', 'epoch_1.pth', 'here.pth'),
    ],
)
def test_a_run_loads_what_its_runner_will_load(tmp_path, load_from, resume, latest, expected):
    if latest:
        (tmp_path / latest).touch()
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / latest))
    run = planned_run(Config(dict(work_dir=str(tmp_path), load_from=load_from, resume=resume)))
    path = checkpoint_to_load(run)
    assert (path and path.removeprefix(f'{tmp_path}/')) == expected
    assert resumes(run) is bool(resume)


def test_a_latest_checkpoint_that_is_gone_is_named(tmp_path):
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_9.pth'))
    run = planned_run(Config(dict(work_dir=str(tmp_path), resume=True)))
    with pytest.raises(UserError, match=r"last_checkpoint names '.*epoch_9.pth', which is not"):
        checkpoint_to_load(run)
