"""Runs that keep rows of prediction layers by the names of their classes, whatever they start from.

No learning rate: what a model has after a run is what it began with. The data's classes are
('square', 'dot').
"""

import copy
import re

import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS, init_default_scope
from stock_runs import LORA, run, write_config

from mmadapt.commands.inspect import main as inspect
from mmadapt.files import read_adapter, read_checkpoint
from mmadapt.peft import require_state

STILL = {'optim_wrapper.optimizer.lr': 0.0}
FULL = dict(method=None, targets='all', head='train', norm='train')
COCO = [*CocoDataset.METAINFO['classes']]
DOT = {
    f'{split}_dataloader.dataset.metainfo.classes': ('dot',) for split in ('train', 'val', 'test')
}
FC = 'roi_head.bbox_head.fc_cls.weight'
RTM = [f'bbox_head.rtm_cls.{level}.{name}' for level in range(3) for name in ('weight', 'bias')]


@pytest.fixture
def said(monkeypatch):
    """Return what the runs of a test say, a line each."""
    lines = []
    monkeypatch.setattr('mmadapt.hooks.inject_hook.say', lines.append)
    return lines


@pytest.fixture
def named(bases, tmp_path):
    """Return a function that names the classes of a base's checkpoint."""

    def name(kind, classes):
        checkpoint = torch.load(bases(kind, len(classes)))
        checkpoint['meta'] = dict(dataset_meta=dict(classes=classes))
        path = tmp_path / f'{kind}_named.pth'
        torch.save(checkpoint, path)
        return path, checkpoint['state_dict']

    return name


def random_row(state, base, key, row):
    """Return whether a row of a tensor is none of the base's."""
    return not any(torch.equal(state[key][row], other) for other in base[key])


@pytest.mark.parametrize('peft', [LORA, FULL, dict(method=None)], ids=['lora', 'full', 'last'])
def test_a_class_that_the_checkpoint_knows_starts_from_its_rows(peft, start, named, said):
    path, base = named('rtmdet', [*COCO[:7], 'dot', *COCO[8:]])
    runner = start(peft, base=path, **STILL)
    average = next(hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook))
    for state in (runner.model.state_dict(), average.state_dict()):
        for key in RTM:
            assert torch.equal(state[key][1], base[key][7])
            assert random_row(state, base, key, 0)
    assert f'1 of 2 classes start from their rows in {path}: dot; new: square' in said
    assert any('bbox_head.rtm_cls.2 │ weight, bias │ 1 of 2' in line for line in said)


def test_as_many_classes_of_other_names_do_not_start_from_the_rows_of_others(start, named, said):
    """Nothing differs in shape. The layers train fully, or no file would have them."""
    path, base = named('faster_rcnn', ['dot', 'cat'])
    runner = start({**LORA, 'export': 'state_dict'}, kind='faster_rcnn', base=path, **STILL)
    assert FC in require_state(runner.model).trained
    state = runner.model.state_dict()
    assert torch.equal(state[FC][1], base[FC][0])
    assert torch.equal(state[FC][2], base[FC][2])  # the background
    assert random_row(state, base, FC, 0)
    boxes = FC.replace('cls', 'reg')
    assert torch.equal(state[boxes][4:], base[boxes][:4])
    assert random_row(state, base, boxes, 3)
    own = f'{runner.work_dir}/epoch_1.pth'
    # Also what does not train, as the constants of a loss, is not taken from the base again.
    assert {FC, boxes} <= {*torch.load(own)['mmadapt']['base']['not_in_base']}
    tested = start(mode='test', kind='faster_rcnn', base=own).model.state_dict()
    merged = read_checkpoint(f'{runner.work_dir}/merged_model_state_dict.pth')['state_dict']
    folder = read_adapter(f'{runner.work_dir}/adapter')[1]
    for key in (FC, boxes):
        for file in (tested, merged, folder):
            assert torch.equal(file[key], state[key])


def test_without_a_common_name_nothing_changes(start, named, said):
    path, base = named('faster_rcnn', ['cat', 'dog'])
    runner = start(kind='faster_rcnn', base=path, **STILL)
    assert FC.removesuffix('.weight') in require_state(runner.model).adapted
    assert torch.equal(runner.model.state_dict()[FC], base[FC])
    assert not any('rows' in line for line in said)


def test_it_is_turned_off(start, named, said):
    path, base = named('faster_rcnn', ['dot', 'cat'])
    runner = start({**LORA, 'keep_classes': False}, kind='faster_rcnn', base=path, **STILL)
    assert FC.removesuffix('.weight') in require_state(runner.model).adapted
    assert torch.equal(runner.model.state_dict()[FC], base[FC])
    assert not any('rows' in line for line in said)


@pytest.mark.parametrize('kind', ['checkpoint', 'folder', 'merged'])
def test_going_on_keeps_what_was_trained(kind, start, finished, said):
    """Whatever the first training has left."""
    file = dict(checkpoint='epoch_1.pth', merged='merged_model_state_dict.pth', folder='adapter')
    path = str(finished / 'run' / file[kind])
    one = {'model.bbox_head.num_classes': 1, **DOT, **STILL}
    if kind == 'folder':
        stored = read_adapter(path)[1]
        runner = start({**LORA, 'adapter': path}, **one)
    else:
        stored = read_checkpoint(path)['state_dict']
        runner = start(base=path, **one)
    state = runner.model.state_dict()
    assert all(torch.equal(state[key], stored[key][1:]) for key in RTM)
    assert f'1 of 1 classes start from their rows in {path}: dot; new: none' in said


@pytest.mark.parametrize(
    ('kind', 'count'), [('checkpoint', 1), ('checkpoint', 2), ('folder', 1), ('folder', 2)]
)
def test_the_rows_of_a_layer_that_had_an_adapter_have_it_merged(
    kind, count, start, named, tmp_path
):
    """The first training adapts the layers, as its base has the same classes."""
    adapts = {**LORA, 'head': 'adapt', 'export': 'state_dict'}
    base, _ = named('rtmdet', ['square', 'dot'])
    first = start(adapts, base=base, **{'optim_wrapper.optimizer.lr': 0.05})
    assert 'bbox_head.rtm_cls.0' in require_state(first.model).adapted
    (tmp_path / 'run').rename(tmp_path / 'first')
    merged = read_checkpoint(str(tmp_path / 'first' / 'merged_model_state_dict.pth'))['state_dict']
    unadapted = torch.load(base)['state_dict']
    assert not torch.equal(merged[RTM[0]], unadapted[RTM[0]])
    others = {'train_dataloader.dataset.metainfo.classes': ('dot', 'cat')}
    others = {'model.bbox_head.num_classes': 1, **DOT} if count == 1 else others
    peft, path = dict(
        checkpoint=(adapts, tmp_path / 'first' / 'epoch_1.pth'),
        folder=({**adapts, 'adapter': str(tmp_path / 'first' / 'adapter')}, base),
    )[kind]
    state = start(peft, base=path, **others, **STILL).model.state_dict()
    assert all(torch.allclose(state[key][0], merged[key][1], rtol=0, atol=1e-7) for key in RTM)
    assert all(len(state[key]) == count for key in RTM)
    assert not any('rtm_cls' in key and 'lora' in key for key in state)


def test_an_adapter_beside_a_pretrained_backbone_alone(start, bases, tmp_path):
    """Nothing is loaded but the folder, and as many classes as it has."""
    state = read_checkpoint(str(bases('rtmdet')))['state_dict']
    path = tmp_path / 'backbone.pth'
    torch.save(state, path)
    pretrained = {
        'model.backbone.init_cfg': dict(
            _delete_=True, type='Pretrained', checkpoint=str(path), prefix='backbone.'
        )
    }
    start(base=None, **pretrained)
    folder = str((tmp_path / 'run').rename(tmp_path / 'first') / 'adapter')
    stored = read_adapter(folder)[1]
    others = {'train_dataloader.dataset.metainfo.classes': ('dot', 'cat')}
    peft = {**LORA, 'adapter': folder}
    state = start(peft, base=None, **pretrained, **others, **STILL).model.state_dict()
    for key in RTM:
        assert torch.equal(state[key][0], stored[key][1])
        assert random_row(state, stored, key, 1)
    assert torch.equal(
        state['neck.out_convs.0.conv.weight'], stored['neck.out_convs.0.conv.weight']
    )


@HOOKS.register_module()
class BeginsWith(Hook):
    """Notes the model's tensors before the first iteration, and what it computes of an image."""

    priority = 'LOWEST'
    state: dict
    outputs: list

    def before_train(self, runner):
        type(self).state = copy.deepcopy(runner.model.state_dict())
        runner.model.eval()
        type(self).outputs = scores(runner.model)
        runner.model.train()


@torch.no_grad()
def scores(model):
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    return model.bbox_head(model.extract_feat(image))[0]


def hooks_of(finished):
    hooks = Config.fromfile(finished / 'config.py').custom_hooks
    return {'custom_hooks': [*hooks, dict(type='BeginsWith')]}


def test_the_scores_of_a_kept_class_are_those_of_the_base(start, named, finished):
    path, base = named('rtmdet', [*COCO[:7], 'dot', *COCO[8:]])
    start(base=path, **hooks_of(finished))
    init_default_scope('mmdet')
    cfg = Config.fromfile(finished / 'config.py')
    cfg.model.bbox_head.num_classes = 80
    stock = MODELS.build(cfg.model).eval()
    stock.load_state_dict(base)
    for ours, wanted in zip(BeginsWith.outputs, scores(stock), strict=True):
        assert ours.shape[1] == 2
        # A convolution of fewer outputs is rounded in another order.
        assert torch.allclose(ours[:, 1], wanted[:, 7], rtol=1e-6, atol=1e-6)
        assert not torch.allclose(ours[:, 0], wanted[:, 7], rtol=0.1, atol=0.1)


def test_a_resumed_run_goes_on_with_its_own_rows(start, named, finished, tmp_path, said):
    """Even if its data call them otherwise by now."""
    path, base = named('rtmdet', ['dot', 'cat'])
    start(base=path)
    stored = torch.load(tmp_path / 'run' / 'epoch_1.pth')['ema_state_dict']
    assert not torch.equal(stored[f'module.{RTM[0]}'][1], base[RTM[0]][0])  # it was trained
    said.clear()
    more = {'train_cfg.max_epochs': 2, 'train_dataloader.dataset.metainfo.classes': ('dot', 'cat')}
    start(resume=True, load_from=None, **more, **hooks_of(finished))
    assert all(torch.equal(BeginsWith.state[key], stored[f'module.{key}']) for key in RTM)
    assert not any('start from their rows' in line for line in said)


def test_two_processes_begin_with_the_same_rows(named, data, tmp_path):
    path, base = named('rtmdet', [*COCO[:7], 'dot', *COCO[8:]])
    config = write_config(
        tmp_path,
        'rtmdet',
        data,
        path,
        probe=f'out={str(tmp_path)!r}, sensitivity=[]',
        extra="optim_wrapper['optimizer']['lr'] = 0.0",
    )
    run('train.py', config, '--work-dir', tmp_path / 'run', processes=2)
    first, second = (torch.load(tmp_path / f'rank{rank}.pth') for rank in range(2))
    assert set(RTM) <= first.keys()
    assert all(torch.equal(second[key], value) for key, value in first.items())
    assert all(torch.equal(first[key][1], base[key][7]) for key in RTM)


def test_inspect_shows_what_a_training_would_keep(named, data, tmp_path, capsys):
    path, _ = named('faster_rcnn', ['dot', 'cat'])
    inspect([str(write_config(tmp_path, 'faster_rcnn', data, path))])
    shown = capsys.readouterr().out
    assert f'1 of 2 classes start from their rows in {path}: dot; new: square' in shown
    assert '│ roi_head.bbox_head.fc_reg │ weight, bias │ 4 of 8    │ 4 each' in shown
    assert '│ roi_head.bbox_head.fc_cls │ weight, bias │ 2 of 3    │ 1 of no class behind' in shown
    assert re.search(r'roi_head\.bbox_head\.fc_cls +│ Linear +│ 3x1024 +│ train', shown)
