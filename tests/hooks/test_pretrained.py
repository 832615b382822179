"""A base that is only a pretrained backbone: what has no weights trains, the rest stays frozen."""

import torch
from stock_runs import LORA

from mmadapt.files import read_checkpoint
from mmadapt.peft import require_state


def _backbone_file(bases, folder):
    state = read_checkpoint(str(bases('faster_rcnn')))['state_dict']
    path = folder / 'backbone.pth'
    torch.save(
        {k.removeprefix('backbone.'): v for k, v in state.items() if k.startswith('backbone.')},
        path,
    )
    return path, state


def test_pretrained_backbone_is_adapted_and_all_else_trains(start, bases, tmp_path):
    path, state = _backbone_file(bases, tmp_path)
    changes = {
        'model.backbone.init_cfg': dict(_delete_=True, type='Pretrained', checkpoint=str(path))
    }
    runner = start(LORA, base=None, kind='faster_rcnn', **changes)
    tuned = require_state(runner.model)
    assert {name.split('.')[0] for name in tuned.adapted} == {'backbone'}
    assert {name.split('.')[0] for name in tuned.trained} == {'neck', 'rpn_head', 'roi_head'}
    now = runner.model.state_dict()
    assert all(torch.equal(now[k], v) for k, v in state.items() if k.startswith('backbone.'))

    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    stored = read_checkpoint(str(checkpoint))['state_dict']
    assert not any(k.startswith('backbone.') and 'lora_' not in k for k in stored)

    # Neither testing nor resuming has a load_from for the backbone: its own file is read again.
    tested = start(LORA, mode='test', base=str(checkpoint), kind='faster_rcnn', **changes)
    assert all(torch.equal(v, now[k]) for k, v in tested.model.state_dict().items())


def test_prediction_layers_for_other_classes_train_in_a_head_that_is_adapted(start):
    runner = start(LORA, kind='faster_rcnn')
    tuned = require_state(runner.model)
    # The base is for 80 classes: these two layers do not fit.
    assert {name.rsplit('.', 1)[0] for name in tuned.trained} == {
        'roi_head.bbox_head.fc_cls',
        'roi_head.bbox_head.fc_reg',
    }
    assert 'roi_head.bbox_head.shared_fcs.0' in tuned.adapted
    assert 'rpn_head.rpn_cls' in tuned.adapted


def test_layers_frozen_by_the_model_stay_out(start):
    runner = start(LORA, kind='faster_rcnn')
    tuned = require_state(runner.model)
    assert not any(name.startswith(('backbone.conv1', 'backbone.layer1')) for name in tuned.adapted)
