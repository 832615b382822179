"""Models of transformers, bare and as a part of one of MMEngine's: heads, tied weights, norms."""

import pytest
import torch
from text_models import Wrapper, text_model, words
from torch import nn

from mmadapt import UserError, inject, merge, remove, save_adapter
from mmadapt.adapters import AdapterLayer
from mmadapt.peft.heads import find_heads, guess_heads

LORA = dict(type='LoRA', r=2)


def actions(report, prefix=''):
    return {layer.name.removeprefix(prefix): (layer.action, layer.why) for layer in report.layers}


@pytest.mark.parametrize(
    ('name', 'task', 'head', 'trains'),
    [
        ('LLaMA', 'CausalLM', 'lm_head', False),
        ('T5', 'Seq2SeqLM', 'lm_head', False),
        ('GPT-2', 'CausalLM', 'lm_head', False),
        ('LLaMA', 'SequenceClassification', 'score', True),
        ('GPT-2', 'SequenceClassification', 'score', True),
        ('LLaMA', 'QuestionAnswering', 'qa_outputs', True),
        ('BERT', 'QuestionAnswering', 'qa_outputs', True),
        ('BERT', 'SequenceClassification', 'classifier', True),
    ],
)
@pytest.mark.parametrize('method', [LORA, None], ids=['LoRA', 'last layer'])
def test_the_head_is_the_same_bare_and_wrapped(name, task, head, trains, method):
    reports = []
    for wrap in (lambda model: model, Wrapper):
        model = wrap(text_model(name, task))
        heads = find_heads(model) or guess_heads(model)
        assert [key.rpartition('.')[2] for key in heads] == [head]
        tied = name != 'LLaMA' and head == 'lm_head'
        if tied and method is None:
            with pytest.raises(UserError, match=r'leaves nothing to train.*lm_head shares its w'):
                inject(model, dict(method=method))
            continue
        reports.append(inject(model, dict(method=method)))
        layer = heads[next(iter(heads))]
        assert isinstance(layer, AdapterLayer) is (not trains and not tied and method is not None)
        assert layer.weight.requires_grad is (trains or method is None)
    if reports:
        bare, wrapped = reports
        assert bare.line() == wrapped.line()
        assert actions(bare) == actions(wrapped, 'model.')


@pytest.mark.parametrize(
    ('name', 'task', 'table'),
    [('T5', 'Seq2SeqLM', 'shared'), ('GPT-2', 'CausalLM', 'transformer.wte')],
)
def test_a_tied_embedding_trains_only_where_that_is_asked_for_and_the_report_says_so(
    name, task, table
):
    for wrap, prefix in ((lambda model: model, ''), (Wrapper, 'model.')):
        model = wrap(text_model(name, task))
        report = inject(model, dict(method=LORA))
        assert actions(report, prefix)[table][0] == 'freeze'
        assert not any(
            'embed' in key or 'lm_head' in key or 'shared' in key
            for key, p in model.named_parameters()
            if p.requires_grad
        )
        remove(model)
        report = inject(model, dict(method=LORA, head='train'))
        found = actions(report, prefix)
        assert found[table] == ('train', 'shares its weight with another layer, which trains')
        assert found['lm_head'][0] == 'train'


def test_a_checkpoint_with_one_of_two_tied_keys_lacks_nothing():
    model = text_model('T5', 'Seq2SeqLM')
    inject(model, dict(method=LORA), ['lm_head.weight', 'encoder.embed_tokens.weight'])
    assert not model.shared.weight.requires_grad
    model = text_model('T5', 'Seq2SeqLM')
    keys = [key for key in model.state_dict() if 'embed_tokens' in key]
    inject(model, dict(method=LORA), ['lm_head.weight', 'shared.weight', *keys])
    assert model.shared.weight.requires_grad


class TorchNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(4, 4), nn.RMSNorm(4)

    def forward(self, x):
        return self.norm(self.first(x))


@pytest.mark.parametrize(
    ('build', 'count'),
    [(lambda: text_model('LLaMA'), 5), (lambda: text_model('T5', 'Seq2SeqLM'), 12), (TorchNorm, 1)],
)
@pytest.mark.parametrize('policy', ['freeze', 'affine', 'stats', 'train'])
def test_rms_norms_follow_the_policy_for_norms(build, count, policy):
    model = build()
    if policy == 'stats':  # of which they have none
        with pytest.raises(UserError, match="norm='stats' does nothing in this "):
            inject(model, dict(method=LORA, norm=policy))
        return
    inject(model, dict(method=LORA, norm=policy))
    trained = [
        name for name, p in model.named_parameters() if p.requires_grad and 'lora' not in name
    ]
    assert len(trained) == (count if policy in ('affine', 'train') else 0)


@pytest.mark.parametrize(
    ('method', 'argument'), [('resize_token_embeddings', 40), ('prune_heads', {0: [1]})]
)
def test_what_would_replace_adapted_layers_of_a_text_model_is_refused(method, argument):
    model = Wrapper(text_model('BERT', 'MaskedLM'))
    if not hasattr(model.model, method):
        pytest.skip('transformers 5 has it no more')
    inject(model, dict(method=LORA))
    wanted = model(**words()).logits
    with pytest.raises(UserError, match=r'BertForMaskedLM\.\w+ builds new layers .* before mmadap'):
        getattr(model.model, method)(argument)
    assert torch.equal(model(**words()).logits, wanted)
    merge(model)
    getattr(model.model, method)(argument)


def test_an_adapter_that_is_gone_is_not_left_out_of_its_folder(tmp_path):
    model = text_model('LLaMA')
    inject(model, dict(method=LORA))
    model.lm_head = nn.Linear(16, 30)
    with pytest.raises(UserError, match='lm_head has lost its adapter'):
        save_adapter(model, str(tmp_path / 'a'))
    assert not (tmp_path / 'a').exists()
