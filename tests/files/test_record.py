"""What a file says of its adapter, and the models it fits."""

import json

import pytest
from torch import nn

from mmadapt import UserError, inject
from mmadapt.files import AdapterRecord, BaseRecord
from mmadapt.peft import PEFTConfig, get_state, require_state

LORA = dict(type='LoRA', r=2)


class Detector(nn.Module):
    def __init__(self, extra=False):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 4, 1),
            *([nn.Conv2d(4, 4, 1)] * extra),
        )
        self.bbox_head = nn.Conv2d(4, 2, 1)


def record_of(peft=None, not_loaded=(), base=None):
    model = Detector()
    inject(model, {'method': LORA, **(peft or {})}, not_loaded)
    return AdapterRecord.of(model, base or BaseRecord(not_in_base=list(not_loaded)), ['face'])


@pytest.mark.parametrize(
    'peft',
    [
        {},
        dict(norm='stats'),
        dict(norm='affine', head='adapt'),
        dict(targets=['backbone']),
        dict(targets=[dict(type='Conv2d', min_channels=3)], exclude=['bbox_head'], head='freeze'),
        dict(method=None, targets='all', norm='train'),
        dict(head=['bbox_head']),
    ],
)
def test_a_record_goes_through_json_and_adapts_a_stock_model_as_the_first_was(peft):
    record = record_of(peft, ['backbone.2.weight'])
    again = AdapterRecord.from_dict(json.loads(json.dumps(record.to_dict())), 'FILE')
    assert again == record
    model, first = Detector(), Detector()
    inject(first, {'method': LORA, **peft}, ['backbone.2.weight'])
    again.inject_into(model, 'FILE')
    assert {n: p.requires_grad for n, p in model.named_parameters()} == {
        n: p.requires_grad for n, p in first.named_parameters()
    }
    assert [type(m) for m in model.modules()] == [type(m) for m in first.modules()]


def test_a_random_base_that_was_asked_for_is_adapted_again_as_it_was():
    everything = [key for key in Detector().state_dict() if 'num_batches' not in key]
    record = record_of(
        dict(allow_random_base=True, norm='affine'), base=BaseRecord(not_in_base=everything)
    )
    model = Detector()
    record.inject_into(model, 'FILE')
    assert require_state(model).adapted == ['backbone.0', 'backbone.2']
    assert not model.train().backbone[1].training


class Heads(nn.Module):
    """Heads that know their classes in every way, one of them in a way that cannot be set."""

    num_classes = 7

    def __init__(self):
        super().__init__()
        self.panoptic = nn.Linear(2, 2)
        self.panoptic.num_things_classes, self.panoptic.num_stuff_classes = 80, 53
        self.stages = nn.ModuleList([nn.Linear(2, 2)])
        self.stages[0].num_classes, self.stages[0].cls_out_channels = 3, 4
        self.same = self.stages[0]
        self.flag = nn.Linear(2, 2)
        self.flag.num_classes, self.flag.cls_out_channels = True, None


def test_a_record_says_how_many_classes_each_head_has(build_detector):
    model = build_detector(num_classes=5)
    inject(model, dict(method=LORA))
    counts = AdapterRecord.of(model, BaseRecord()).class_counts
    assert counts == {'bbox_head': dict(num_classes=5, cls_out_channels=5)}
    model = Heads()
    inject(model, dict(method=LORA))
    record = AdapterRecord.of(model, BaseRecord())
    assert record.class_counts == {
        'panoptic': dict(num_things_classes=80, num_stuff_classes=53),
        'stages.0': dict(num_classes=3, cls_out_channels=4),
    }
    assert AdapterRecord.from_dict(json.loads(json.dumps(record.to_dict())), 'FILE') == record


def test_a_record_older_than_the_class_counts_is_read():
    record = record_of().to_dict()
    assert record['format'] == 1
    del record['class_counts']
    assert AdapterRecord.from_dict(record, 'FILE').class_counts == {}


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda r: r.pop('plan'), r"FILE: its description of the adapter is damaged \('plan'\)"),
        (lambda r: r.pop('format'), 'damaged'),
        (lambda r: r.update(format='x'), 'damaged'),
        (lambda r: r.update(plan=3), 'damaged'),
        (lambda r: r.update(plan='LoRA'), 'damaged'),
        (lambda r: r.update(adapted=None), 'damaged'),
        (lambda r: r.update(base=dict(path='x')), 'damaged'),
        (lambda r: r.update(class_counts=3), 'damaged'),
        (lambda r: r.update(class_counts=dict(head=3)), 'damaged'),
        (lambda r: r.update(class_counts=dict(head=dict(num_classes='x'))), 'damaged'),
        (lambda r: r.update(format=99), 'FILE was written by a newer version of mmadapt'),
    ],
)
def test_a_damaged_or_newer_record_is_refused_with_the_files_name(damage, message):
    record = record_of().to_dict()
    damage(record)
    with pytest.raises(UserError, match=message):
        AdapterRecord.from_dict(record, 'FILE')


def test_a_record_that_is_no_dict_is_damaged():
    with pytest.raises(UserError, match='FILE: its description of the adapter is damaged'):
        AdapterRecord.from_dict('adapter', 'FILE')


def test_a_model_without_an_adapted_layer_is_another_model():
    with pytest.raises(
        UserError,
        match='FILE adapts backbone.0, which this model does not have '
        r"\(nearest: '.*'\); it belongs to another model",
    ):
        record_of().inject_into(nn.ModuleDict(dict(backbon=nn.Conv2d(3, 4, 3))), 'FILE')


def test_a_model_with_one_layer_more_is_another_model_and_stays_what_it_was():
    model = Detector(extra=True)
    kinds, grads = [type(m) for m in model.modules()], [p.requires_grad for p in model.parameters()]
    with pytest.raises(
        UserError, match='FILE and this model differ in what is adapted .*first in backbone.3'
    ):
        record_of().inject_into(model, 'FILE')
    assert kinds == [type(m) for m in model.modules()]
    assert grads == [p.requires_grad for p in model.parameters()]
    assert get_state(model) is None


@pytest.mark.parametrize(
    ('peft', 'message'),
    [
        (
            dict(method=dict(type='LoRA', r=4)),
            "another `peft`; method: .*'r': 2.* there, .*'r': 4.* in "
            'this config. Write the same; or merge it first, '
            'mmadapt merge CONFIG FILE merged.pth, and',
        ),
        (dict(norm='train'), "norm: 'freeze' there, 'train' in this config"),
        (dict(method=None), 'method: .* there, None in this config'),
    ],
)
def test_another_peft_than_the_files_is_refused_and_the_difference_named(peft, message):
    model = Detector()
    inject(model, {'method': LORA, **peft})
    with pytest.raises(UserError, match=message):
        record_of().check_same(require_state(model), 'FILE')


def test_where_files_are_and_what_is_exported_is_no_difference():
    model = Detector()
    inject(model, PEFTConfig.parse(dict(method=LORA, adapter='a', base='b', export='state_dict')))
    record_of().check_same(require_state(model), 'FILE')
