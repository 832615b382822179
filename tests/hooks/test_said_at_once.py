"""What keeps a run from starting is said in one go, not one thing a start."""

import sys

import pytest
from stock_runs import LORA

from mmadapt import UserError

SMALL = {'model.backbone.depths': (1, 1, 1, 1)}


@pytest.mark.parametrize(
    ('allowed', 'said'),
    [
        (False, 'the frozen base of this RetinaNet would be random: set load_from\n'),
        (True, 'from quantized weights no checkpoint could restore a random one; set load_from\n'),
    ],
)
def test_a_quantized_random_base_without_bitsandbytes(start, monkeypatch, allowed, said):
    monkeypatch.setitem(sys.modules, 'bitsandbytes', None)
    peft = dict(LORA, targets='all-linear', quant=dict(bits=4), allow_random_base=allowed)
    with pytest.raises(UserError) as caught:
        start(peft, base=None, kind='swin', **SMALL)
    assert said in str(caught.value)
    assert 'peft.quant needs bitsandbytes' in str(caught.value).splitlines()[1]
    assert 'allow_random_base' not in str(caught.value)


def test_a_random_base_and_a_name_that_means_nothing(start):
    with pytest.raises(UserError) as caught:
        start(dict(LORA, targets=['backbone.stage9']), base=None)
    first, second = str(caught.value).splitlines()
    assert 'would be random: set load_from. (peft.allow_random_base=True' in first
    assert "'backbone.stage9' matches no layer" in second
