"""A `memory` key that nothing would read, and islands that nothing would make."""

import pytest

from mmadapt.errors import UserError
from mmadapt.preflight import check_memory_hook

MEMORY = dict(checkpoint=['SwinBlock'])


@pytest.mark.parametrize('hooks', [None, [], [dict(type='EMAHook')]])
@pytest.mark.parametrize('runner', [{}, dict(runner_type='Runner')])
def test_memory_without_a_hook_is_refused(hooks, runner):
    with pytest.raises(UserError, match=r"dict\(type='MemoryHook'\)"):
        check_memory_hook(dict(memory=MEMORY, custom_hooks=hooks, **runner))


@pytest.mark.parametrize(
    'cfg',
    [
        dict(),
        dict(memory=None),
        dict(memory=MEMORY, runner_type='FlexibleRunner'),
        dict(memory=MEMORY, custom_hooks=[dict(type='EMAHook'), dict(type='MemoryHook')]),
        dict(memory=MEMORY, custom_hooks=[dict(type='mmengine.PEFTInjectHook')]),
        dict(fp32_modules=[]),
        dict(memory=dict(fp32_modules='auto'), runner_type='FlexibleRunner'),
        dict(
            fp32_modules=['bbox_head'],
            runner_type='FlexibleRunner',
            memory=dict(fp32_modules=['bbox_head', 'neck']),
        ),
    ],
)
def test_config_whose_memory_is_read_or_absent_passes(cfg):
    check_memory_hook(cfg)


@pytest.mark.parametrize('memory', [{}, dict(memory=None), dict(memory=MEMORY)])
@pytest.mark.parametrize('runner', ['Runner', 'FlexibleRunner'])
def test_islands_beside_memory_are_refused(memory, runner):
    with pytest.raises(UserError, match=r"write memory = dict\(fp32_modules='auto'\)"):
        check_memory_hook(
            dict(
                fp32_modules=['bbox_head'],
                runner_type=runner,
                custom_hooks=[dict(type='MemoryHook')],
                **memory,
            )
        )
