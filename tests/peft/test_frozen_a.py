"""LoRA-FA in whole models: what trains, what is counted, and what stays through all that is done."""

import copy
from types import SimpleNamespace

import pytest
import torch
from model_zoo import DETECTORS
from torch import nn

import mmadapt
from mmadapt import UserError, inject
from mmadapt.adapters import AdapterLayer
from mmadapt.files.loaded_keys import LoadedKeys
from mmadapt.meters.step import SavedForBackward, bytes_of_file
from mmadapt.peft import PEFTConfig
from mmadapt.wrappers import PEFTDistributedDataParallel


def lora_fa(**options):
    return dict(type='LoRA', r=2, freeze_A=True, **options)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3))
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.bbox_head = nn.Linear(6, 2)

    def forward(self, x):
        x = self.backbone(x).flatten(2).transpose(1, 2)
        return self.bbox_head(self.attention(x, x, x)[0])


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def frozen_factors(model):
    """Return every A, by name."""
    return {name: p for name, p in model.named_parameters() if '.lora_A' in name}


def test_b_alone_trains_and_is_alone_counted():
    model = Detector()
    report = inject(model, dict(method=lora_fa(), head='freeze'))
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert all('.lora_B' in name for name in trained)
    assert len(trained) == len(frozen_factors(model)) == 6
    assert report.trainable == sum(p.numel() for p in trained.values()) == 2 * (4 + 6 + 4 * 6)
    assert report.total == sum(p.numel() for p in model.parameters())
    # What it adds is both factors, and so much is in a file.
    both = [*trained.values(), *frozen_factors(model).values()]
    assert sum(layer.extra for layer in report.layers) == sum(p.numel() for p in both)
    assert bytes_of_file(model.train()) == sum(p.nbytes for p in both)


def test_a_is_what_was_drawn_through_training_switching_and_merging():
    model = Detector()
    inject(model, dict(method=lora_fa(), head='freeze'))
    drawn = copy.deepcopy(frozen_factors(model))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()(X).square().sum().backward()
    optimizer.step()
    wanted = model.eval()(X)
    mmadapt.merge(model)
    torch.testing.assert_close(model(X), wanted)
    mmadapt.unmerge(model)
    mmadapt.set_adapter(model, None)
    torch.testing.assert_close(model(X), Detector().eval()(X), rtol=0, atol=0)
    mmadapt.set_adapter(model, 'default')
    assert torch.equal(model(X), wanted)
    for name, tensor in frozen_factors(model).items():
        assert torch.equal(tensor, drawn[name])
        assert not tensor.requires_grad
    mmadapt.remove(model)
    assert all(p.requires_grad for p in model.parameters())


def test_an_adapter_with_a_trained_a_is_told_from_one_with_a_frozen_one(tmp_path):
    model, other = Detector(), Detector()
    inject(model, dict(method=lora_fa()))
    inject(other, dict(method=dict(type='LoRA', r=2)))
    mmadapt.save_adapter(other, str(tmp_path / 'a'))
    with pytest.raises(UserError, match='another `peft`.*freeze_A'):
        mmadapt.load_adapter(model, str(tmp_path / 'a'))


def test_the_wrapper_takes_a_frozen_a_for_no_weight_that_was_not_loaded():
    model = Detector()
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inject(model, dict(method=lora_fa()), weights_follow=True)
    wrapper = SimpleNamespace(module=model, _allow_random_base=False)
    loaded = LoadedKeys(model)
    model.load_state_dict(base, strict=False)
    PEFTDistributedDataParallel._begin(wrapper, loaded)
    loaded.keys.discard('backbone.0.weight')
    with pytest.raises(UserError, match='backbone.0.weight and 0 more parameters are frozen'):
        PEFTDistributedDataParallel._begin(wrapper, loaded)


@pytest.mark.parametrize(
    ('key', 'said'),
    [
        ('lora_fa', 'peft.method.freeze_A=True here'),
        ('freeze_a', 'peft.method.freeze_A=True here'),
        ('use_fa', 'peft.method.freeze_A=True here'),
        ('freeze_B', "nearest: 'freeze_A'"),
    ],
)
def test_other_names_of_it_are_told_what_it_is_here(key, said):
    with pytest.raises(UserError, match=said):
        PEFTConfig.parse(dict(method={'type': 'LoRA', key: True}))


def test_a_detector_learns_what_it_learns_beside_a_trained_a_and_keeps_less():
    stock = DETECTORS['RTMDet'].build()
    gradients, kept = [], []
    for freeze in (True, False):
        model = copy.deepcopy(stock)
        inject(model, dict(method=dict(type='LoRA', r=2, freeze_A=freeze), head='adapt'))
        torch.manual_seed(1)
        with torch.no_grad():
            for layer in model.modules():
                if isinstance(layer, AdapterLayer):
                    layer.lora_A.normal_(std=0.1)
                    layer.lora_B.normal_(std=0.1)
        model.train()
        with SavedForBackward(model) as saved:
            loss = DETECTORS['RTMDet'].loss(model)
            kept.append(saved.bytes())
        loss.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if '.lora_B' in n})
    assert gradients[0].keys() == gradients[1].keys()
    assert sum(grad is not None for grad in gradients[0].values()) > 50
    for name, grad in gradients[0].items():
        if grad is not None:
            scale = gradients[1][name].abs().max().item()
            torch.testing.assert_close(grad, gradients[1][name], rtol=1e-3, atol=1e-3 * scale)
    assert kept[0] < 0.5 * kept[1]
