"""The model of a config, wherever its parts stand."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS

from mmadapt import inject, save_adapter
from mmadapt.cli.plain_config import plain_config
from mmadapt.commands import merge
from mmadapt.commands.test import set_tta
from mmadapt.config_model import build_model, model_config
from mmadapt.files import BaseRecord
from mmadapt.hooks.checkpoint_hook import _rebuilt

MEAN, STD = [10.0, 20.0, 30.0], [2.0, 4.0, 8.0]
CONFIG = """
custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
default_scope = 'mmengine'
model = dict(type='_Classifier')
data_preprocessor = dict(mean={}, std={})
peft = dict(method=dict(type='LoRA', r=2), head='freeze', targets=['layer'])
"""


@pytest.fixture(autouse=True)
def classifier():
    class _Classifier(BaseModel):
        """Like MMPretrain's, with a data preprocessor of its own where it is given none."""

        def __init__(self, data_preprocessor=None):
            super().__init__({'type': 'ImgDataPreprocessor', **(data_preprocessor or {})})
            self.layer = torch.nn.Linear(3, 2)

        def forward(self, inputs, mode='tensor'):
            return self.layer(torch.stack(inputs).mean((2, 3)))

    MODELS.register_module(module=_Classifier, force=True)
    # A whole model is pickled by the name of its class.
    _Classifier.__qualname__ = '_Classifier'
    globals()['_Classifier'] = _Classifier
    yield _Classifier
    MODELS.module_dict.pop('_Classifier')
    del globals()['_Classifier']


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(CONFIG.format(MEAN, STD))
    return path


def test_a_data_preprocessor_at_the_top_of_the_config_is_the_models(config):
    cfg = Config.fromfile(config)
    before = cfg.to_dict()
    assert build_model(cfg).data_preprocessor.mean.flatten().tolist() == MEAN
    assert cfg.to_dict() == before
    own = Config(dict(cfg, model=dict(cfg.model, data_preprocessor=dict(mean=STD, std=MEAN))))
    assert model_config(own).data_preprocessor.mean == STD, 'as a runner does'


def test_a_merged_model_normalizes_as_the_config_says(config, tmp_path):
    model = build_model(Config.fromfile(config))
    base = {key: value.clone() for key, value in model.state_dict().items()}
    torch.save(dict(state_dict=base), tmp_path / 'base.pth')
    inject(model, dict(method=dict(type='LoRA', r=2), head='freeze', targets=['layer']))
    torch.nn.init.normal_(model.layer.lora_B)
    save_adapter(model, str(tmp_path / 'adapter'), BaseRecord(str(tmp_path / 'base.pth')))
    out = tmp_path / 'merged.pth'
    merge.main([*map(str, (config, tmp_path / 'adapter', out, '--format', 'full_torch_model'))])

    merged = torch.load(out, weights_only=False)
    image = torch.randint(0, 255, (3, 8, 8), dtype=torch.uint8)
    wanted = (image - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    prepared = merged.data_preprocessor(dict(inputs=[image]))['inputs'][0]
    torch.testing.assert_close(prepared, wanted)
    torch.testing.assert_close(merged([prepared]), model.eval()([wanted]))
    beside = Config.fromfile(out.with_suffix('.py'))  # of which an inferencer takes `model` alone
    assert beside.model.data_preprocessor.mean == MEAN
    # What a sharded training exports.
    runner = SimpleNamespace(cfg=Config.fromfile(config))
    rebuilt = _rebuilt(runner, str(tmp_path / 'adapter'), None)
    assert rebuilt.data_preprocessor.mean.flatten().tolist() == MEAN


def test_what_averages_over_augmented_images_calls_a_model_that_normalizes(config):
    cfg = Config.fromfile(config)
    cfg.update(
        tta_model=dict(type='BaseTTAModel'),
        tta_pipeline=[],
        test_dataloader=dict(dataset=dict(pipeline=[])),
    )
    set_tta(cfg)
    assert cfg.model.module.data_preprocessor.mean == MEAN


def test_the_config_beside_a_merged_model_names_its_classes_where_the_data_does_not():
    data = dict(type='Outer', dataset=dict(type='Inner'))
    cfg = Config(dict(model=dict(type='_Classifier'), test_dataloader=dict(dataset=data)))
    inner = plain_config(cfg, ['cat', 'dog']).test_dataloader.dataset.dataset
    assert inner.metainfo.classes == ('cat', 'dog')
    cfg.test_dataloader.dataset.dataset.metainfo = dict(classes=('own',))
    inner = plain_config(cfg, ['cat', 'dog']).test_dataloader.dataset.dataset
    assert inner.metainfo.classes == ('own',)
