"""Adapters of text models whose linear layers are not torch's, to Hugging Face's PEFT and back."""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file
from text_models import text_model, words

from mmadapt import export_hf, inject, load_adapter, merge, save_adapter, unmerge
from mmadapt.adapters import AdapterLayer

peft = pytest.importorskip('peft', reason='peft, the reference, is not installed')
X = dict(input_ids=words()['input_ids'])
METHODS = [
    dict(type='LoRA', r=2, alpha=6),
    dict(type='LoRA', r=2, alpha=6, init='pissa'),
    dict(type='DoRA', r=3, alpha=6, rslora=True),
]


def perturb(model):
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model.eval()


def adapted(model):
    return [name for name, module in model.named_modules() if isinstance(module, AdapterLayer)]


def check_equal(output, wanted, name):
    assert (wanted - text_model(name)(**X).logits).abs().max() > 0.01
    torch.testing.assert_close(output, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('method', METHODS, ids=str)
@pytest.mark.parametrize('name', ['GPT-2', 'Falcon'])
def test_what_is_written_here_peft_opens_and_computes_the_same(tmp_path, name, method):
    model = text_model(name)
    inject(model, dict(method=method))
    assert len(adapted(model)) == 8
    wanted = perturb(model)(**X).logits
    save_adapter(model, str(tmp_path / 'ours'))
    export_hf(model, str(tmp_path / 'theirs'))
    with warnings.catch_warnings():
        warnings.filterwarnings('error', 'fan_in_fan_out|Found missing adapter keys')
        theirs = peft.PeftModel.from_pretrained(text_model(name), str(tmp_path / 'theirs')).eval()
    check_equal(theirs(**X).logits, wanted, name)
    check_equal(theirs.merge_and_unload()(**X).logits, wanted, name)
    for folder in ('ours', 'theirs'):
        again = text_model(name)
        load_adapter(again, str(tmp_path / folder))
        check_equal(again(**X).logits, wanted, name)


@pytest.mark.parametrize(
    'options',
    [
        dict(target_modules=['c_attn', 'c_proj', 'c_fc'], fan_in_fan_out=True),
        dict(target_modules=['c_attn'], fan_in_fan_out=True, modules_to_save=['ln_f']),
        dict(target_modules='all-linear', use_dora=True),
        dict(target_modules=['c_proj', 'wpe']),
    ],
)
def test_a_folder_of_peft_with_weights_turned_round_means_the_same_here(tmp_path, options):
    config = peft.LoraConfig(r=3, lora_alpha=7, **options)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        theirs = perturb(peft.get_peft_model(text_model('GPT-2'), config))
        theirs.save_pretrained(str(tmp_path), save_embedding_layers=False)
    written = json.loads((tmp_path / 'adapter_config.json').read_text())
    assert written['fan_in_fan_out'] or 'wpe' in options['target_modules']
    model = text_model('GPT-2')
    load_adapter(model, str(tmp_path))
    check_equal(model(**X).logits, theirs(**X).logits, 'GPT-2')
    assert len(adapted(model)) == sum(
        'lora_A' in key or 'lora_embedding_A' in key
        for key in load_file(tmp_path / 'adapter_model.safetensors')
    )


@pytest.mark.parametrize(
    'method',
    [
        dict(type='LoRA', r=2),
        dict(type='LoRA', r=2, dropout=0.2),
        dict(type='DoRA', r=2),
        dict(type='SSF'),
    ],
    ids=str,
)
@pytest.mark.parametrize('name', ['GPT-2', 'Falcon'])
def test_all_linear_layers_are_adapted_train_and_merge(name, method):
    model = text_model(name)
    stock = model(**X).logits
    report = inject(model, dict(method=method, targets='all-linear'))
    assert torch.equal(model(**X).logits, stock) or method['type'] == 'DoRA'
    layers = {layer.name for layer in report.layers if layer.action == 'adapt'}
    assert len(layers) == 8
    model.train()(**words()).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    wanted = perturb(model)(**X).logits
    merge(model)
    check_equal(model(**X).logits, wanted, name)
    assert model.state_dict().keys() == text_model(name).state_dict().keys()
    unmerge(model)
    assert torch.equal(model(**X).logits, wanted)
