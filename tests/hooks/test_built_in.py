"""Weights that a model is built with, by ``from_pretrained`` or the like, are a base.

Runs of MMEngine's runner in this process, on models of transformers that are read from a folder.
"""

import copy
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, FUNCTIONS, MODELS
from mmengine.runner import Runner
from text_models import CONFIGS, text_model, transformers, words
from torch import nn
from torch.utils.data import Dataset

from mmadapt import UserError
from mmadapt.files import read_checkpoint, rebuild
from mmadapt.files.built_in import built_in_keys
from mmadapt.peft import require_state

LORA = dict(method=dict(type='LoRA', r=2, alpha=4))


@MODELS.register_module(force=True)
class ClassifierOfTexts(BaseModel):
    """Loads its text model in its constructor, if there is a folder; its classifier is new."""

    def __init__(self, folder=None, redraws=False):
        super().__init__()
        kind = transformers.BertModel
        self.body = (
            kind(transformers.BertConfig(**CONFIGS['BERT'][1]))
            if folder is None
            else kind.from_pretrained(folder)
        )
        self.classifier = nn.Linear(16, 3)
        if redraws:  # as the models of timm do
            self.body.init_weights = self._draw

    def _draw(self):
        nn.init.normal_(self.body.embeddings.word_embeddings.weight)

    def forward(self, input_ids, label=None, mode='tensor'):
        scores = self.classifier(self.body(input_ids=input_ids).last_hidden_state[:, 0])
        return scores if mode != 'loss' else dict(loss=nn.functional.cross_entropy(scores, label))


@DATASETS.register_module(force=True)
class TwoTexts(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        ids = words()['input_ids'][index % 2]
        return dict(input_ids=ids, label=torch.tensor(index % 2))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A pretrained text model as transformers saves it."""
    path = tmp_path_factory.mktemp('pretrained')
    text_model('BERT', '').save_pretrained(path)
    return str(path)


@pytest.fixture
def train(tmp_path, folder, monkeypatch):
    """Train in a folder of this name; return the runner and what it logged as losses."""

    def start(name, peft=LORA, epochs=2, resume=False, load_from=None, **model):
        cfg = Config(
            dict(
                model=dict(type='ClassifierOfTexts', **{'folder': folder, **model}),
                peft=peft,
                train_dataloader=dict(
                    dataset=dict(type='TwoTexts'),
                    batch_size=2,
                    sampler=dict(type='DefaultSampler', shuffle=False),
                    collate_fn=dict(type='default_collate'),
                ),
                train_cfg=dict(by_epoch=True, max_epochs=epochs),
                optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
                custom_hooks=[dict(type='PEFTInjectHook')],
                randomness=dict(seed=1),
                default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
                work_dir=str(tmp_path / name),
                resume=resume,
                load_from=load_from,
                default_scope='mmengine',
                experiment_name=f'{tmp_path.name}-{name}-{epochs}',
            )
        )
        runner = Runner.from_cfg(cfg)
        runner.train()
        losses = [
            json.loads(line)['loss']
            for file in sorted(tmp_path.glob(f'{name}/*/vis_data/scalars.json'))
            for line in file.read_text().splitlines()
        ]
        return runner, losses

    assert FUNCTIONS.get('default_collate') is not None
    return start


def test_they_are_adapted_stay_out_of_the_checkpoints_and_are_there_when_it_is_resumed(
    train, folder, tmp_path
):
    runner, wanted = train('whole', epochs=2)
    state = require_state(runner.model)
    assert len(state.adapted) == 13  # 12 layers and the pooler
    assert state.trained == ['classifier.bias', 'classifier.weight']
    original = transformers.AutoModel.from_pretrained(folder).state_dict()
    now = runner.model.body.state_dict()
    assert all(torch.equal(now[key], original[key]) for key in original)
    stored = read_checkpoint(str(tmp_path / 'whole' / 'epoch_2.pth'))
    assert {key for key in stored['state_dict'] if 'lora_' not in key} == set(state.trained)

    train('half', epochs=1)
    _, losses = train('half', epochs=2, resume=True)
    assert losses == wanted
    assert len(losses) == 4

    model = ClassifierOfTexts(folder)
    rebuild(model, str(tmp_path / 'whole' / 'epoch_2.pth'))
    X = words()['input_ids']
    assert torch.equal(model.eval()(X), runner.model.eval()(X))
    with pytest.raises(UserError, match='was trained on other base weights than these'):
        rebuild(ClassifierOfTexts(), str(tmp_path / 'whole' / 'epoch_2.pth'))


@pytest.mark.parametrize('allow', [False, True])
def test_the_log_says_what_is_true(train, allow):
    runner, _ = train('said', dict(LORA, allow_random_base=allow), epochs=1)
    text = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert 'weights for 39 of 41 tensors of the model, 39 of which it is built with' in text
    assert 'the frozen base is random' not in text


def test_a_checkpoint_of_a_part_alone_is_loaded_into_it(train, folder, tmp_path):
    body = transformers.BertModel.from_pretrained(folder)
    torch.save(body.state_dict(), tmp_path / 'body.pth')
    runner, wanted = train('part', folder=None, epochs=2, load_from=str(tmp_path / 'body.pth'))
    now = runner.model.body.state_dict()
    assert all(torch.equal(now[key], tensor) for key, tensor in body.state_dict().items())
    assert require_state(runner.model).trained == ['classifier.bias', 'classifier.weight']
    text = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert 'body.pth is a checkpoint of body alone: its keys are read as body.' in text
    train('again', folder=None, epochs=1, load_from=str(tmp_path / 'body.pth'))
    assert train('again', folder=None, epochs=2, resume=True)[1] == wanted
    model = ClassifierOfTexts()
    rebuild(model, str(tmp_path / 'part' / 'epoch_2.pth'))
    assert torch.equal(
        model.eval()(words()['input_ids']), runner.model.eval()(words()['input_ids'])
    )


def test_a_model_built_at_random_is_refused_as_before(train):
    with pytest.raises(UserError, match='the frozen base of this ClassifierOfTexts would be ran'):
        train('random', folder=None)


def test_weights_that_initializing_draws_anew_are_no_base(train):
    with pytest.raises(
        UserError,
        match=r'1 of the 39 pretrained tensors .*first of them body\.emb'
        r'.*word_embeddings\.weight, are drawn anew by init_w.*'
        r'`self\.body\.is_init = True`',
    ):
        train('redrawn', redraws=True)


class Mixed(nn.Module):
    """Has loaded its body, norms of ones and biases of zeros included, and drawn all else."""

    def __init__(self, state, loads=True):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8))
        self.neck = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
        self.register_buffer('table', torch.arange(8.0))
        nn.init.zeros_(self.neck[0].bias)
        if loads:
            self.body.load_state_dict(state)


def test_constants_belong_to_what_they_are_in():
    state = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8)).state_dict()
    nn.init.zeros_(state['0.bias'])
    model = Mixed(state)
    keys = set(model.state_dict())
    assert built_in_keys(model, keys, lambda: Mixed(state)) == {
        'table',
        *(key for key in keys if key.startswith('body.')),
    }
    assert built_in_keys(model, keys, lambda: Mixed(state, loads=False)) == set()
    assert built_in_keys(copy.deepcopy(model), {'neck.1.weight'}, lambda: Mixed(state)) == set()


def test_the_weights_that_timm_loads_are_found(tmp_path):
    timm = pytest.importorskip('timm', reason='timm is not installed')
    path = tmp_path / 'vit.pth'
    sizes = dict(img_size=32, embed_dim=32, depth=2, num_heads=2)
    torch.save(timm.create_model('vit_tiny_patch16_224', num_classes=7, **sizes).state_dict(), path)

    def build():
        return timm.create_model(
            'vit_tiny_patch16_224',
            num_classes=3,
            pretrained=True,
            **sizes,
            pretrained_cfg_overlay=dict(file=str(path), num_classes=7),
        )

    model = build()
    keys = set(model.state_dict())
    assert keys - built_in_keys(model, keys, build) == {'head.weight', 'head.bias'}
