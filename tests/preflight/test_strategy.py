"""A `strategy` that nothing would read."""

import pytest

from mmadapt.errors import UserError
from mmadapt.preflight import check_strategy

FSDP2 = dict(strategy=dict(type='FSDP2Strategy'))


@pytest.mark.parametrize('runner', [{}, dict(runner_type='Runner')])
def test_it_is_refused_under_the_stock_runner(runner):
    with pytest.raises(UserError, match="write runner_type = 'FlexibleRunner'"):
        check_strategy(dict(FSDP2, **runner))


@pytest.mark.parametrize(
    'cfg',
    [
        {},
        dict(strategy=None),
        dict(FSDP2, runner_type='FlexibleRunner'),
        dict(FSDP2, runner_type='OfMine'),
    ],
)
def test_it_passes_where_it_is_read_or_absent(cfg):
    check_strategy(cfg)
