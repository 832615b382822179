"""A `peft` key that nothing would read."""

import pytest

from mmadapt.errors import UserError
from mmadapt.preflight import check_peft_hook


@pytest.mark.parametrize('hooks', [None, [], [dict(type='EMAHook')]])
def test_peft_without_its_hook_is_refused(hooks):
    with pytest.raises(UserError, match='PEFTInjectHook'):
        check_peft_hook(dict(peft=dict(method=None), custom_hooks=hooks))


@pytest.mark.parametrize(
    'cfg',
    [
        dict(),
        dict(peft=None),
        dict(peft=dict(), custom_hooks=[dict(type='EMAHook'), dict(type='PEFTInjectHook')]),
        dict(peft=dict(), custom_hooks=[dict(type='mmengine.PEFTInjectHook')]),
    ],
)
def test_config_whose_peft_is_read_or_absent_passes(cfg):
    check_peft_hook(cfg)
