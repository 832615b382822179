"""The `peft` key: what it takes and what it says of what it does not take."""

import pytest
from mmengine.config import Config

from mmadapt import UserError
from mmadapt.adapters import build_method
from mmadapt.peft import PEFTConfig

LORA = dict(type='LoRA', r=4)


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(methd=LORA), "peft has no key 'methd'; nearest: 'method'"),
        (dict(method=LORA, target='auto'), "peft has no key 'target'; nearest: 'targets'"),
        (dict(method=LORA, quantize=None), "peft has no key 'quantize'; nearest: 'quant'"),
        ('LoRA', "peft must be a dict, got 'LoRA'"),
        (
            dict(method='LoRA'),
            r"peft.method must be a dict such as dict\(type='LoRA', r=8\) or None",
        ),
        (dict(method=dict(r=4)), r"peft.method.type=None is not one of \['DoRA', 'LoRA'"),
        (
            dict(method=dict(type='LoRa')),
            "peft.method.type='LoRa' is not one of .*; nearest: 'LoRA'",
        ),
        (dict(method=dict(type='LoRA', rank=4)), "no key 'rank' for LoRA; .* peft.method.r here"),
        (dict(method=dict(type='LoRA', r=0)), 'peft.method.r must be .* at least 1, got 0'),
        (dict(method=dict(type='LoRA', r=4, dropot=0.1)), "no key 'dropot'.*nearest: 'dropout'"),
        (dict(method=LORA, norm='frozen'), "peft.norm='frozen' is not one of .*nearest: 'freeze'"),
        (dict(method=LORA, norm=None), 'peft.norm=None is not one of'),
        (dict(method=LORA, head='trained'), "peft.head='trained' .* nearest: 'train', or a list"),
        (dict(method=LORA, head=None), 'peft.head=None is not one of'),
        (dict(method=LORA, head=True), 'peft.head=True is not one of'),
        (dict(method=LORA, head=dict(name='cls')), 'peft.head=.*or a list of layer names'),
        (dict(method=LORA, targets=None), 'peft.targets takes a list of names.*got None'),
        (dict(method=LORA, exclude=3), 'peft.exclude takes a list of names.*got 3'),
        (dict(method=LORA, exclude=['a', 3]), 'peft.exclude takes a list of names.*; 3 is none'),
        (dict(method=LORA, export='statedict'), "peft.export='statedict' .*nearest: 'state_dict'"),
        (dict(method=LORA, adapter=3), 'peft.adapter must be a path, got 3'),
        (dict(method=LORA, base=['x']), 'peft.base must be a path'),
        (dict(method=LORA, keep_classes=['a']), 'peft.keep_classes must be True or False, got'),
        (dict(method=LORA, keep_class=False), "no key 'keep_class'; nearest: 'keep_classes'"),
        (dict(method=LORA, allow_random_base=1), 'allow_random_base must be True or False, got 1'),
    ],
)
def test_what_is_wrong_is_refused_with_its_name_and_the_nearest_right_one(cfg, message):
    with pytest.raises(UserError, match=message):
        PEFTConfig.parse(cfg)


def test_a_rank_inherited_by_another_method_is_explained(monkeypatch):
    from mmadapt.adapters import ADAPTERS, LoRA

    class Scale(LoRA):
        def __init__(self, shift: bool = True):
            super().__init__()

    monkeypatch.setitem(ADAPTERS.module_dict, 'Scale', Scale)
    with pytest.raises(
        UserError,
        match=r"no key 'r' for Scale; .*method=dict\(_delete_=True, "
        r"type='Scale', \.\.\.\)",
    ):
        PEFTConfig.parse(dict(method=dict(type='Scale', r=32)))


def test_an_error_is_one_line():
    with pytest.raises(UserError) as caught:
        PEFTConfig.parse(dict(method=dict(type='LoRA', rank=4)))
    assert '\n' not in str(caught.value)


def test_a_config_built_in_python_is_checked_like_one_that_was_read():
    with pytest.raises(UserError, match="peft.norm='bogus'"):
        PEFTConfig.parse(PEFTConfig(method=LORA, norm='bogus'))


def test_mmengines_config_containers_are_taken_and_become_plain():
    cfg = Config(dict(peft=dict(method=LORA, targets=['a', dict(type='Conv2d')])))
    parsed = PEFTConfig.parse(cfg.peft)
    assert type(parsed.method) is dict
    assert type(parsed.targets) is list
    assert type(parsed.targets[1]) is dict


def test_defaults_are_those_documented():
    parsed = PEFTConfig.parse(dict(method=LORA))
    assert (parsed.targets, parsed.exclude, parsed.head, parsed.norm) == (
        'auto',
        [],
        'auto',
        'freeze',
    )
    assert (parsed.adapter, parsed.base, parsed.export) == (None, None, None)
    assert parsed.allow_random_base is False


def test_one_name_or_description_is_a_list_of_one():
    for one in ('backbone', dict(type='Conv2d')):
        parsed = PEFTConfig.parse(dict(method=LORA, targets=one, exclude=one))
        assert parsed.targets == parsed.exclude == [one]


def test_the_plan_spells_out_the_methods_defaults_and_leaves_out_what_decides_no_tensor():
    plan = PEFTConfig.parse(
        dict(method=dict(type='LoRA'), adapter='a', export='state_dict', keep_classes=False)
    ).plan()
    method = plan.pop('method')
    assert plan == dict(targets='auto', exclude=[], head='auto', norm='freeze', quant=None)
    assert {key: method[key] for key in ('type', 'r', 'alpha', 'dropout')} == dict(
        type='LoRA', r=8, alpha=16, dropout=0.0
    )
    assert method == build_method(method).to_dict()


def test_reading_a_config_leaves_it_as_it_was():
    cfg = dict(method=dict(LORA), exclude=['a'])
    PEFTConfig.parse(cfg).exclude.append('b')
    assert cfg == dict(method=dict(LORA), exclude=['a'])
