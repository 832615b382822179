"""A ZeroRedundancyOptimizer is refused where a run would hang at its first checkpoint."""

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.optim.optimizer import ZeroRedundancyOptimizer
from mmengine.registry import OPTIMIZERS
from torch import nn

from mmadapt import UserError
from mmadapt.optim.zero_redundancy import is_zero_redundancy, refuse_under_stock_runner


@pytest.fixture
def one_process(tmp_path):
    """Have a group of one process, without which such an optimizer cannot be built."""
    torch.distributed.init_process_group(
        'gloo', store=torch.distributed.FileStore(str(tmp_path / 'store'), 1), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_the_stock_runner_does_not_begin_what_would_hang(one_process):
    model = nn.Linear(2, 2)
    for cls in (ZeroRedundancyOptimizer, OPTIMIZERS.get('ZeroRedundancyOptimizer')):
        wrapper = OptimWrapper(cls(model.parameters(), optimizer_type='AdamW', lr=0.1))
        assert is_zero_redundancy(wrapper)
        with pytest.raises(UserError, match=r"waits for ever .* runner_type='FlexibleRunner'"):
            refuse_under_stock_runner(wrapper)


def test_other_optimizers_begin():
    plain = OptimWrapper(torch.optim.AdamW(nn.Linear(2, 2).parameters()))
    for wrapper in (plain, OptimWrapperDict(a=plain)):
        refuse_under_stock_runner(wrapper)
