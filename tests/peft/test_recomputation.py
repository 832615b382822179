"""Gradient checkpointing of transformers: every adapter gets the gradient that it gets without."""

import copy
import functools

import pytest
import torch
from text_models import Wrapper, text_model, words
from torch.utils.checkpoint import checkpoint

from mmadapt import inject, remove, set_adapter

LORA = dict(type='LoRA', r=2)
ENABLE = dict(gradient_checkpointing_kwargs=dict(use_reentrant=True))


def gradients(model):
    model.zero_grad()
    model.train()(**words()).loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def adapted(head='train', when=(), name='LLaMA', task='CausalLM', **kwargs):
    model = Wrapper(text_model(name, task, **(dict(dropout_rate=0) if name == 'T5' else {})))
    if 'before' in when:
        model.model.gradient_checkpointing_enable(**kwargs)
    torch.manual_seed(0)
    inject(model, dict(method=dict(LORA, init='gaussian'), head=head))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith('lora_B'):
                parameter.fill_(0.1)
    if 'after' in when:
        model.model.gradient_checkpointing_enable(**kwargs)
    return model


@pytest.mark.parametrize('kwargs', [{}, ENABLE], ids=['as it comes', 'reentrant'])
@pytest.mark.parametrize('when', ['before', 'after'])
@pytest.mark.parametrize(
    ('name', 'task', 'head'),
    [('LLaMA', 'CausalLM', 'train'), ('LLaMA', 'CausalLM', 'adapt'), ('T5', 'Seq2SeqLM', 'adapt')],
)
def test_every_adapter_has_the_gradient_that_it_has_without(name, task, head, when, kwargs):
    wanted = gradients(adapted(head, name=name, task=task))
    model = adapted(head, when, name, task, **kwargs)
    found = gradients(model)
    assert found.keys() == wanted.keys()
    for key in wanted:
        error = (found[key] - wanted[key]).abs().max()  # to rounding: what is masked may differ
        assert error <= 1e-3 * wanted[key].abs().max()
    assert len([key for key in wanted if 'lora_' in key]) >= 28


def test_it_is_what_transformers_recomputes_and_a_copy_recomputes_itself():
    calls, model = [], adapted(when='after')
    for each in (model, copy.deepcopy(model)):
        layer = each.model.model.layers[0].mlp  # transformers 5 calls hooks of a block outside
        layer.register_forward_pre_hook(lambda module, *_: calls.append(module))
        gradients(each)
        assert calls == [layer, layer]
        calls.clear()


def test_without_adapters_it_is_transformers_own_again():
    model = adapted(when='before', **ENABLE)
    backbone = model.model.model
    assert backbone._gradient_checkpointing_func.keywords['use_reentrant'] is False
    set_adapter(model, None)
    assert backbone._gradient_checkpointing_func.keywords['use_reentrant'] is True
    set_adapter(model, 'default')
    assert backbone._gradient_checkpointing_func.keywords['use_reentrant'] is False
    remove(model)
    assert backbone._gradient_checkpointing_func.keywords['use_reentrant'] is True
    model.model.gradient_checkpointing_enable(**ENABLE)
    assert backbone._gradient_checkpointing_func.keywords['use_reentrant'] is True


def test_the_plain_function_of_torch_is_taken_over_and_another_one_is_not():
    for function, changed in (
        (checkpoint, True),
        (print, False),
        (functools.partial(checkpoint, use_reentrant=False), False),
    ):
        model = Wrapper(text_model('LLaMA'))
        model.model.model._gradient_checkpointing_func = function
        inject(model, dict(method=LORA))
        now = model.model.model._gradient_checkpointing_func
        assert (now is not function) is changed
