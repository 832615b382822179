"""The demo's data sets and what it says of its runs."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

pytest.importorskip('skimage', reason="the sample is composed of scikit-image's images")

from projects.face_demo import base, base_data, coco, metrics, run, sample, scenes, sources, steps  # noqa: E402

CONFIGS = steps.ROOT / 'projects/face_demo/configs'
RECIPE = dict(sample.RECIPE, train=12, validation=8)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('face_demo')
    assert sample.prepare(root, RECIPE)
    return root


def _annotations(root, split):
    return json.loads((root / split / coco.ANNOTATIONS).read_text())


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones(root, tmp_path):
    again, other = tmp_path / 'again', tmp_path / 'other'
    sample.prepare(again, RECIPE)
    sample.prepare(other, dict(RECIPE, seed=RECIPE['seed'] + 1))
    assert coco.digest(again) == coco.digest(root)
    assert coco.digest(other) != coco.digest(root)


def test_a_finished_sample_is_kept_and_a_damaged_or_other_one_is_made_again(root, tmp_path):
    assert not sample.prepare(root, RECIPE)
    copy = tmp_path / 'copy'
    sample.prepare(copy, RECIPE)
    image = next((copy / 'train').glob('*.jpg'))
    image.write_bytes(image.read_bytes()[:100])
    assert sample.prepare(copy, RECIPE)
    assert coco.digest(copy) == coco.digest(root)
    assert sample.prepare(copy, dict(RECIPE, version=0))


def test_no_validation_face_is_a_training_face(root):
    used = {
        split: {a['crop'] for a in _annotations(root, split)['annotations']}
        for split in sources.SPLITS
    }
    assert used['train']
    assert used['validation']
    assert not used['train'] & used['validation']
    crops = {
        split: np.stack(list(sources.face_crops(split).values())).reshape(-1, 625)
        for split in sources.SPLITS
    }
    assert len(crops['train']) + len(crops['validation']) == 100
    correlation = np.corrcoef(crops['train'], crops['validation'])[:75, 75:]
    assert correlation.max() < 0.95  # the same photograph twice, brightened or not, would be 1


def test_no_pixel_of_a_texture_serves_both_splits():
    for load in (sources.textures, sources.other_objects):
        parts = {split: load(split) for split in sources.SPLITS}
        for name, image in parts['train'].items():
            other = parts['validation'][name]
            assert not np.shares_memory(image, other)
            original = sources._as_rgb({**sources._TEXTURES, **sources._OTHER_OBJECTS}[name]())
            assert np.array_equal(np.concatenate([image, other], axis=1), original)


def test_a_box_is_where_its_face_was_pasted():
    """Finds the crop again by normalized correlation, with OpenCV, knowing nothing of the box."""
    rng = np.random.default_rng(0)
    crop = sources.face_crops('train')[0]
    errors = []
    for size in (30, 48, 72):
        ground = sources.textures('train')['moon']
        scene = scenes.background(ground, rng)
        alpha = scenes.rounded_alpha(*crop.shape, roundness=5)
        patch = scenes.Patch(np.repeat(crop[..., None], 3, axis=2), alpha, 'face', 0)
        assert scene.lay(patch, size, rng)
        gray = scene.finish(rng).mean(axis=2).astype(np.float32)
        best = (-1, None)
        inner = slice(5, 20)
        for mirrored in (crop, crop[:, ::-1]):
            template = cv2.resize(mirrored[inner, inner], None, fx=size / 25, fy=size / 25)
            scores = cv2.matchTemplate(gray, template.astype(np.float32), cv2.TM_CCOEFF_NORMED)
            _, score, _, (left, top) = cv2.minMaxLoc(scores)
            if score > best[0]:
                center = (left + template.shape[1] / 2, top + template.shape[0] / 2)
                best = (score, center)
        x1, y1, x2, y2 = scene.boxes[0]
        errors.append(np.hypot((x1 + x2) / 2 - best[1][0], (y1 + y2) / 2 - best[1][1]) / size)
        assert 0.8 * size < max(x2 - x1, y2 - y1) < 1.25 * size
    assert max(errors) < 0.12


def test_boxes_are_inside_their_picture_and_hardly_overlap(root):
    for split in sources.SPLITS:
        content = _annotations(root, split)
        assert [a['id'] for a in content['annotations']] == list(
            range(1, len(content['annotations']) + 1)
        )
        boxes = {}
        for annotation in content['annotations']:
            x, y, width, height = annotation['bbox']
            assert min(x, y) >= 0
            assert max(x + width, y + height) <= scenes.SIZE
            assert min(width, height) > 10
            assert annotation['area'] == width * height
            boxes.setdefault(annotation['image_id'], []).append((x, y, x + width, y + height))
        for several in boxes.values():
            for i, one in enumerate(several):
                assert all(scenes.overlap(one, other) <= 0.15 for other in several[:i])


def test_the_base_has_seen_neither_a_face_nor_a_picture_of_the_face_scenes(monkeypatch, tmp_path):
    def forbidden(*args):
        raise AssertionError('the base task reads the face crops')

    monkeypatch.setattr(sources, 'face_crops', forbidden)
    monkeypatch.setattr(sources, 'non_face_crops', forbidden)
    monkeypatch.setattr(sources.data, 'lfw_subset', forbidden)
    monkeypatch.setattr(sources.data, 'astronaut', forbidden)
    recipe = dict(base_data.RECIPE, train=6, validation=4)
    base_data.prepare(tmp_path / 'base', recipe)
    content = _annotations(tmp_path / 'base', 'train')
    assert 'face' not in {category['name'] for category in content['categories']}
    assert content['annotations']


def test_the_base_config_names_the_categories_of_its_data():
    from mmengine.config import Config

    cfg = Config.fromfile(CONFIGS / 'rtmdet_tiny_base_objects.py')
    assert list(cfg.classes) == list(sources.base_objects())
    assert cfg.model.bbox_head.num_classes == len(cfg.classes)
    assert cfg.model.backbone.init_cfg is None
    assert cfg.get('peft') is None


@pytest.mark.parametrize(
    'config', ['rtmdet_tiny_lora_face_demo.py', 'head_only.py', 'full.py', 'plain.py']
)
def test_mmdetection_reads_the_sample_through_each_config(root, config):
    from mmdet.registry import DATASETS
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules(init_default_scope=True)
    cfg = Config.fromfile(CONFIGS / config)
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, data_root=str(root)))
    expected = _annotations(root, 'validation')
    assert len(dataset) == len(expected['images'])
    assert dataset.metainfo['classes'] == ('face',) == tuple(sample.CATEGORIES)
    boxes = sum(len(dataset.get_data_info(i)['instances']) for i in range(len(dataset)))
    assert boxes == len(expected['annotations'])
    assert tuple(dataset[0]['inputs'].shape) == (3, scenes.SIZE, scenes.SIZE)


def test_the_stock_config_knows_nothing_of_mmadapt():
    from mmengine.config import Config

    cfg = Config.fromfile(CONFIGS / 'plain.py')
    assert not any(word in cfg.dump() for word in ('mmadapt', 'PEFT', 'peft'))
    assert not cfg.custom_hooks


def test_the_three_runs_differ_in_nothing_but_what_trains_and_how_fast():
    from mmengine.config import Config

    read = [
        Config.fromfile(CONFIGS / name).to_dict()
        for name in ('rtmdet_tiny_lora_face_demo.py', 'head_only.py', 'full.py')
    ]
    for cfg in read:
        for key in ('peft', 'lr'):
            cfg.pop(key, None)
        cfg['optim_wrapper']['optimizer'].pop('lr')
    assert read[0] == read[1] == read[2]


def test_a_failing_step_says_which_and_shows_its_last_lines(tmp_path):
    log = tmp_path / 'step.log'
    with pytest.raises(steps.StepFailed, match='status 3') as caught:
        steps.run(['sh', '-c', 'echo the reason; exit 3'], log)
    assert all(text in str(caught.value) for text in ('the reason', str(log)))
    assert log.read_text() == 'the reason\n'
    with pytest.raises(steps.StepFailed, match='no-such-program'):
        steps.run(['no-such-program'], log)


def _group_exists(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_whatever_stops_the_demo_ends_everything_that_a_step_has_started(tmp_path, number):
    log = tmp_path / 'step.log'
    # What runs the tests in the background may have had it ignored, which is inherited.
    code = (
        'import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); '
        'from pathlib import Path; from projects.face_demo import sample, steps; '
        'sample.prepare = lambda data: '
        f'steps.run(["sh", "-c", "echo $$; sleep 60; true"], Path({str(log)!r})); '
        'runpy.run_path("projects/face_demo/run.py", run_name="__main__")'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', code], cwd=steps.ROOT, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 50
        while not (log.is_file() and log.read_text().strip()):
            assert time.monotonic() < deadline, 'the step never began'
            time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    finally:
        process.kill()
    group, deadline = int(log.read_text()), time.monotonic() + 20
    while _group_exists(group):  # the system may take a moment to bury the killed
        assert time.monotonic() < deadline, 'a process of the step outlives the demo'
        time.sleep(0.1)


@pytest.mark.parametrize(
    ('raised', 'status', 'said'),
    [(KeyboardInterrupt(), 130, 'Interrupted'), (steps.StepFailed('this step'), 1, 'this step')],
)
def test_the_exit_status_tells_an_interruption_from_a_failure(
    monkeypatch, capsys, raised, status, said
):
    def demo():
        raise raised

    monkeypatch.setattr(run, 'demo', demo)
    assert run.main() == status
    assert said in capsys.readouterr().out


def test_too_weak_a_base_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(base, 'FOLDER', tmp_path)
    monkeypatch.setattr(base, 'WEIGHTS', tmp_path / 'base.pth')
    monkeypatch.setattr(base, '_RECORD', tmp_path / 'base.json')
    monkeypatch.setattr(base, '_official', lambda: 'no network')
    monkeypatch.setattr(base.base_data, 'prepare', lambda root: True)
    monkeypatch.setattr(steps, 'run', lambda *args, **kwargs: 1.0)
    monkeypatch.setattr(base, 'last_scalars', lambda work_dir: {'coco/bbox_mAP_50': 0.29})
    with pytest.raises(steps.StepFailed, match='0.290'):
        base.obtain(tmp_path / 'work')
    assert not (tmp_path / 'base.pth').exists()


def test_the_screen_gets_the_gist_of_the_log():
    line = (
        '11/21 01:22:41 - mmengine - INFO - Epoch(train)  [3][10/30]  base_lr: 2.9e-04 '
        'lr: 2.9e-04  eta: 0:00:37  time: 0.4327  loss: 1.2132  loss_cls: 0.6885'
    )
    assert steps.gist(line) == 'Epoch(train) [3][10/30]  loss: 1.2132  eta: 0:00:37'
    assert (
        steps.gist(
            'Epoch(val) [1][8/8]    coco/bbox_mAP: 0.5470  coco/bbox_mAP_50: 0.9600  '
            'coco/bbox_mAP_75: 0.1'
        )
        == 'AP50 0.960  AP 0.547'
    )
    assert steps.gist('loading annotations into memory...') is None


def test_figures_come_from_the_latest_run_of_a_folder(tmp_path):
    for name, ap50 in (('20260101_000000', 0.1), ('20260102_000000', 0.2)):
        (tmp_path / name / 'vis_data').mkdir(parents=True)
        (tmp_path / name / 'vis_data/scalars.json').write_text(
            '{"loss": 1.0}\n' + json.dumps({'coco/bbox_mAP_50': ap50}) + '\n{"loss": 0.5}\n'
        )
    assert metrics.last_scalars(tmp_path)['coco/bbox_mAP_50'] == 0.2
    (tmp_path / 'log').write_text('... trainable params: 12 || all params: 34 || trainable%: 35')
    assert metrics.parameter_counts(tmp_path / 'log') == (12, 34)
    (tmp_path / 'log').write_text('nothing')
    with pytest.raises(ValueError, match='trainable params'):
        metrics.parameter_counts(tmp_path / 'log')
