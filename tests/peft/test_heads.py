"""Which part of a model is its head, what is taken for one, and what `head='auto'` makes of it."""

import pytest
import torch
from mmengine.model import BaseModel
from torch import nn

from mmadapt import UserError, inject
from mmadapt.adapters import AdapterLayer
from mmadapt.peft.heads import find_heads, guess_heads, resolve_head_policy

LORA = dict(type='LoRA', r=1)


def parts(*names, **modules):
    """What is no model of MMEngine: Linear layers of these names, and what is given."""
    return nn.ModuleDict({**{name: nn.Linear(2, 2) for name in names}, **modules})


class Model(BaseModel):
    def __init__(self, *names, **modules):
        super().__init__()
        for name, module in parts(*names, **modules).items():
            self.add_module(name, module)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return inputs


def test_only_children_with_the_very_name_are_heads():
    model = parts(
        'head', 'decode_head', 'auxiliary_heads', 'backbone', 'forehead', 'header', 'head_conv'
    )
    assert set(find_heads(model)) == {'head', 'decode_head', 'auxiliary_heads'}


def test_a_head_without_parameters_is_none():
    assert find_heads(Model('backbone', head=nn.ReLU())) == {}


def test_the_heads_of_the_models_inside_a_model_are_heads():
    model = Model(
        'track_head', detector=Model('backbone', 'roi_head', 'rpn_head'), backbone=parts('head')
    )
    assert set(find_heads(model)) == {'track_head', 'detector.roi_head', 'detector.rpn_head'}
    assert find_heads(model)['detector.roi_head'] is model.detector.roi_head


@pytest.mark.parametrize(
    ('heads', 'policy'),
    [
        (('bbox_head',), 'train'),
        (('bbox_head', 'mask_head'), 'train'),
        (('mask_head',), 'adapt'),
        (('detector.bbox_head',), 'train'),
        (('rpn_head', 'roi_head'), 'adapt'),
        (('rpn_head', 'bbox_head'), 'adapt'),
        (('roi_head',), 'adapt'),
        (('head',), 'adapt'),
        (('panoptic_head',), 'adapt'),
        (('decode_head', 'auxiliary_head'), 'adapt'),
        (('detector.rpn_head', 'detector.roi_head', 'track_head'), 'adapt'),
        ((), 'adapt'),
    ],
)
def test_only_a_one_stage_head_trains_fully_by_default(heads, policy):
    assert resolve_head_policy('auto', dict.fromkeys(heads, nn.Linear(1, 1)), True)[0] == policy


@pytest.mark.parametrize('guessed', [False, True])
def test_without_a_method_the_head_trains(guessed):
    heads = {'roi_head': nn.Linear(1, 1)}
    assert resolve_head_policy('auto', heads, False, guessed)[0] == 'train'


@pytest.mark.parametrize('guessed', [False, True])
@pytest.mark.parametrize('policy', ['train', 'adapt', 'freeze', ['bbox_head.cls']])
def test_what_is_said_is_done(policy, guessed):
    heads = {'bbox_head': nn.Linear(1, 1)}
    assert resolve_head_policy(policy, heads, True, guessed)[0] == policy


def test_adapting_the_head_without_a_method_is_refused():
    with pytest.raises(UserError, match="head='adapt' needs a peft.method .*head='train'"):
        resolve_head_policy('adapt', {}, False)


@pytest.mark.parametrize(
    ('model', 'guessed'),
    [
        (Model('backbone', 'neck', 'predictor'), {'predictor'}),
        (Model('img_backbone', 'classifier', 'box_net'), {'classifier', 'box_net'}),
        (
            Model(
                'backbone',
                'neck',
                'encoder',
                'decoder',
                'query_embedding',
                'memory_trans_fc',
                'query_map',
                'dn_query_generator',
                'text_feat_map',
                'language_model',
                'positional_encoding',
                'predictor',
                norm=nn.LayerNorm(2),
            ),
            {'predictor'},
        ),
        (Model('image_encoder', 'mask_net'), {'mask_net'}),
        # ResNet, EfficientNet and ViT of timm and torchvision, in a wrapper or not.
        (Model(model=parts('conv1', 'layer1', 'fc')), {'model.fc'}),
        (
            Model(model=parts('conv_stem', 'blocks', 'conv_head', 'classifier')),
            {'model.classifier'},
        ),
        (Model(model=parts('patch_embed', 'blocks', 'head')), {'model.head'}),
        (Model(model=parts('conv_proj', 'encoder', 'heads')), {'model.heads'}),
        (parts('features', 'classifier'), {'classifier'}),
        # LeNet and InceptionV3 of MMPretrain: their heads have no parameters.
        (Model(backbone=parts('features', 'classifier'), head=nn.ReLU()), {'backbone.classifier'}),
        (Model(backbone=parts('encoder', 'pooler', 'fc')), {'backbone.fc'}),
        (Model(backbone=parts('encoder', 'pooler')), set()),
        # Nothing there says what the head is, or it would be everything.
        (nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), set()),
        (Model('backbone'), set()),
        (Model('backbone', 'neck'), set()),
        (Model('classifier'), set()),
        (parts('fc', 'classifier'), set()),
        (parts('first', 'second'), set()),
        (nn.Linear(2, 2), set()),
    ],
)
def test_what_is_taken_for_a_head_that_has_another_name(model, guessed):
    found = guess_heads(model)
    assert set(found) == guessed
    assert all(model.get_submodule(name) is head for name, head in found.items())


@pytest.mark.parametrize(
    ('width', 'guessed'), [(1000, {'predictor', 'mixer'}), (20000, {'predictor'})]
)
def test_what_is_much_larger_than_the_body_is_not_taken_for_a_head(width, guessed):
    with torch.device('meta'):
        model = Model('backbone', 'predictor', mixer=nn.Linear(1000, width))
    assert set(guess_heads(model)) == guessed
    model.backbone = nn.Linear(5000, 5000, device='meta')
    assert set(guess_heads(model)) == {'predictor', 'mixer'}


def test_a_classifier_that_is_most_of_a_model_is_not_taken_for_its_head():
    model = Model(
        backbone=nn.ModuleDict(
            dict(features=nn.Linear(3000, 3000, device='meta'), classifier=nn.Linear(1, 1))
        )
    )
    assert set(guess_heads(model)) == {'backbone.classifier'}
    model.backbone['classifier'] = nn.Linear(4000, 4000, device='meta')
    assert guess_heads(model) == {}


@pytest.mark.parametrize(
    ('peft', 'adapted', 'trains', 'said'),
    [
        (dict(), False, True, 'trained fully: predictor'),
        (dict(targets=['backbone']), False, True, 'trained fully: predictor'),
        (dict(method=None), False, True, 'trained fully: predictor'),
        (dict(head='train'), False, True, 'trained fully: predictor'),
        (dict(head='freeze'), False, False, 'kept frozen: predictor'),
        (dict(head='adapt'), True, False, None),
        (dict(head=['predictor']), False, True, None),
        (dict(head=['neck']), True, False, None),
    ],
)
def test_an_unknown_head_is_named_and_follows_the_policy(peft, adapted, trains, said):
    model = Model('backbone', 'neck', 'predictor')
    report = inject(model, {'method': LORA, **peft})
    assert isinstance(model.predictor, AdapterLayer) is adapted
    assert model.predictor.weight.requires_grad is trains
    heads = [line for line in report.warnings if 'head' in line]
    if said is None:
        assert heads == []
    else:
        assert heads == [
            f'WARNING: Model has no part called head; taken for its head and {said} '
            '(6 parameters). If its prediction layers are others, name them in '
            'peft.head'
        ]


def test_an_unknown_head_without_pretrained_weights_is_not_frozen():
    model = Model('backbone', 'predictor')
    inject(model, dict(method=LORA, head='freeze'), ['predictor.weight'])
    assert model.predictor.weight.requires_grad


@pytest.mark.parametrize(
    ('policy', 'said'),
    [('auto', ': all of it is treated as its body. Name'), ('adapt', None), (['2'], None)],
)
def test_a_model_in_which_nothing_can_be_taken_for_a_head_is_warned_about(policy, said):
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 3))
    report = inject(model, dict(method=LORA, head=policy))
    heads = [line for line in report.warnings if 'head' in line]
    assert isinstance(model[0], AdapterLayer)
    if said is None:
        assert heads == []
    else:
        assert heads == [
            f'WARNING: Sequential has no part called head and none that could be '
            f'taken for it{said} its prediction layers in peft.head; it ends with '
            '0 (6 parameters), 2 (9 parameters)'
        ]
