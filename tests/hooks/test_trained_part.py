"""A checkpoint of a training with ``peft``, given to what knows nothing of it."""

import subprocess
import sys

import pytest
import torch
from stock_runs import LORA, environment

from mmadapt import UserError
from mmadapt.files import read_checkpoint
from mmadapt.files.trained_part import NOTE

PLAIN = dict(peft=None, custom_hooks=[])
EMA = dict(type='EMAHook', ema_type='ExpMomentumEMA')
_INFERENCE = """
import sys
from pathlib import Path
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmengine.config import Config
from mmengine.runner import Runner
assert 'mmadapt' not in sys.modules, 'the config alone is to import it'
config, file, data = sys.argv[1:]
inferencer = DetInferencer(config, file, device='cpu', show_progress=False)
detector = init_detector(config, file, device='cpu')
cfg = Config.fromfile(config)
cfg.merge_from_dict(dict(load_from=file, work_dir=str(Path(config).parent / 'tested')))
runner = Runner.from_cfg(cfg)
runner.test()
runner.model.cfg = detector.cfg
for image in sorted(map(str, Path(data, 'val').glob('*.png'))):
    wanted = inference_detector(runner.model, image).pred_instances
    others = [inference_detector(detector, image),
              *inferencer(image, return_datasamples=True, no_save_vis=True)['predictions']]
    for found in others:
        assert len(wanted) > 10
        assert torch.equal(found.pred_instances.bboxes, wanted.bboxes)
        assert torch.equal(found.pred_instances.scores, wanted.scores)
assert detector.dataset_meta['classes'] == ('square', 'dot')
print('all the same')
"""


def test_inference_gives_the_boxes_of_the_test_tool(finished, data):
    done = subprocess.run(
        [
            sys.executable,
            '-W',
            'ignore',
            '-c',
            _INFERENCE,
            str(finished / 'config.py'),
            str(finished / 'run' / 'epoch_1.pth'),
            str(data),
        ],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout.endswith('all the same\n'), done.stderr[-3000:]


@pytest.mark.parametrize(
    ('mode', 'changes'),
    [
        ('train', PLAIN),
        ('test', PLAIN),
        ('train', {**PLAIN, 'custom_hooks': [EMA]}),
        ('train', {**PLAIN, 'resume': True}),
        (
            'train',
            {
                **PLAIN,
                'runner_type': 'FlexibleRunner',
                'strategy': dict(type='mmadapt.SingleDeviceStrategy'),
            },
        ),
        (
            'test',
            {
                **PLAIN,
                'runner_type': 'FlexibleRunner',
                'strategy': dict(type='SingleDeviceStrategy'),
            },
        ),
    ],
)
def test_a_plain_config_is_refused(mode, changes, start, finished):
    with pytest.raises(UserError, match='epoch_1.pth holds only what a training with `peft`'):
        start(mode=mode, base=str(finished / 'run' / 'epoch_1.pth'), **changes)


@pytest.mark.parametrize('where', ['model', 'backbone', 'prefix'])
def test_it_is_no_file_for_init_cfg(where, start, finished):
    """It would be loaded after the optimizer has been built."""
    pretrained = dict(type='Pretrained', checkpoint=str(finished / 'run' / 'epoch_1.pth'))
    if where == 'prefix':
        pretrained['prefix'] = 'backbone.'
    key = 'model.init_cfg' if where == 'model' else 'model.backbone.init_cfg'
    with pytest.raises(UserError, match='holds only what a training with `peft`'):
        start(
            base=None,
            **{**PLAIN, key: pretrained if where == 'model' else {'_delete_': True, **pretrained}},
        )


def test_it_is_no_base(start, finished, tmp_path):
    file = str(finished / 'run' / 'epoch_1.pth')
    with pytest.raises(UserError, match='holds only what a training with `peft`'):
        start({**LORA, 'base': file}, mode='test', base=file)


def test_an_older_file_is_completed_all_the_same(start, finished, tmp_path):
    checkpoint = torch.load(finished / 'run' / 'epoch_1.pth')
    del checkpoint[NOTE]
    torch.save(checkpoint, tmp_path / 'old.pth')
    state = start(mode='test', base=str(tmp_path / 'old.pth')).model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in checkpoint['state_dict'].items())


def test_full_fine_tuning_leaves_what_a_plain_config_tests(start, tmp_path):
    trained = start(dict(method=None, targets='all', head='train', norm='train'))
    path = tmp_path / 'run' / 'epoch_1.pth'
    tested = start(mode='test', base=str(path), **PLAIN).model.state_dict()
    assert tested.keys() == trained.model.state_dict().keys()
    state = read_checkpoint(str(path))['state_dict']
    assert all(torch.equal(tested[key], value) for key, value in state.items())
