"""A `memory` key that nothing would read."""

import pytest

from mmadapt.configs import check_memory_hook
from mmadapt.errors import UserError

MEMORY = dict(checkpoint=['SwinBlock'])


@pytest.mark.parametrize('hooks', [None, [], [dict(type='EMAHook')]])
@pytest.mark.parametrize('runner', [{}, dict(runner_type='Runner')])
def test_memory_without_a_hook_is_refused(hooks, runner):
    with pytest.raises(UserError, match=r"dict\(type='MemoryHook'\)"):
        check_memory_hook(dict(memory=MEMORY, custom_hooks=hooks, **runner))


@pytest.mark.parametrize('cfg', [
    dict(), dict(memory=None), dict(memory=MEMORY, runner_type='FlexibleRunner'),
    dict(memory=MEMORY, custom_hooks=[dict(type='EMAHook'), dict(type='MemoryHook')]),
    dict(memory=MEMORY, custom_hooks=[dict(type='mmengine.PEFTInjectHook')])])
def test_config_whose_memory_is_read_or_absent_passes(cfg):
    check_memory_hook(cfg)
