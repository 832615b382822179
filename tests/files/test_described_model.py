"""What an adapter folder says of its model, and what it may not make a reader do."""

import json
import sys

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmadapt.config_model import build_model
from mmadapt.errors import UserError
from mmadapt.files.described_model import DESCRIPTION_NAME, DescribedModel
from mmadapt.files.harmless import registered

STOCK = [
    'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
    'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
    'mmpose::body_2d_keypoint/rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py',
    'mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
    'mmpretrain::resnet/resnet18_8xb32_in1k.py',
]


def stock_config(name):
    from mmengine.hub import get_config

    pytest.importorskip(name.partition('::')[0].replace('mmseg', 'mmseg.models'))
    return get_config(name)


def write(folder, described):
    folder.mkdir(exist_ok=True)
    (folder / DESCRIPTION_NAME).write_text(json.dumps(described.to_dict()))
    return str(folder)


@pytest.mark.parametrize('name', STOCK)
def test_a_model_is_built_from_the_file_as_from_its_config(name, tmp_path):
    cfg = stock_config(name)
    back = DescribedModel.read(write(tmp_path / 'a', DescribedModel.of(cfg)))
    assert back.pipeline == cfg.test_dataloader.dataset.pipeline
    with back.config() as described:
        model = build_model(described)
    stock = build_model(cfg)
    assert str(model) == str(stock)
    own, wanted = model.state_dict(), stock.state_dict()
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in wanted.items()}


def rtmdet():
    return stock_config(STOCK[0])


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module that can be imported, and is noticed if it is."""
    (tmp_path / 'innocent_module.py').write_text('class Model:\n    pass\n')
    monkeypatch.syspath_prepend(tmp_path)
    yield 'innocent_module'
    assert 'innocent_module' not in sys.modules


def changed(path, value):
    cfg = rtmdet()
    cfg.merge_from_dict({path: value})
    return DescribedModel.of(cfg)


@pytest.mark.parametrize(
    'path',
    [
        'model.type',
        'model.backbone.type',
        'model.test_cfg.nms.type',
        'model.bbox_head.loss_cls.type',
    ],
)
def test_a_module_that_a_type_names_is_not_imported(path, trap, tmp_path):
    folder = write(tmp_path / 'a', changed(path, f'{trap}.Model'))
    with pytest.raises(UserError, match='nothing is imported because a file says so'):
        DescribedModel.read(folder)


def test_a_module_that_custom_imports_or_the_scope_name_is_not_imported(trap, tmp_path):
    described = changed('custom_imports.imports', [trap])
    DescribedModel.read(write(tmp_path / 'a', described))
    described.scope = trap
    with pytest.raises(UserError, match='default_scope=.innocent_module. is none of'):
        DescribedModel.read(write(tmp_path / 'a', described))


def test_a_type_of_the_training_s_own_module_is_said_with_what_it_needs(tmp_path):
    described = changed('model.bbox_head.type', 'MyHead')
    described.imports = ['my_project']
    with pytest.raises(UserError, match=r"bbox_head.type='MyHead' is registered; .*my_project"):
        DescribedModel.read(write(tmp_path / 'a', described))


@pytest.mark.parametrize('name', ['teacher.py', 'teacher.json', 'weights.pkl', 'weights.PICKLE'])
def test_no_file_is_named_that_a_part_of_the_model_would_run_or_unpickle(name, tmp_path):
    described = changed('model.bbox_head.loss_cls.class_weight', name)
    with pytest.raises(UserError, match='names a file that a part of the model would read or run'):
        DescribedModel.read(write(tmp_path / 'a', described))


def test_no_file_of_the_folder_is_read(tmp_path):
    (tmp_path / 'tags').write_text('anything')
    described = changed('model.bbox_head.tag_list', str(tmp_path / 'tags'))
    with pytest.raises(UserError, match='names a file'):
        DescribedModel.read(write(tmp_path / 'a', described))


@pytest.mark.parametrize('value', ['cv2.MOTION_EUCLIDEAN()', 'float32.__name__'])
def test_no_text_that_could_be_evaluated_is_let_through(value, tmp_path):
    described = changed('model.backbone.mode', value)
    with pytest.raises(UserError, match='could be code: refused'):
        DescribedModel.read(write(tmp_path / 'a', described))


# Registered all of them, so that it is by their names that they are refused.
REFUSED = {
    'AutoModelForCausalLM': 'mmpretrain',
    'CameraMotionCompensation': 'mmdet',
    'Detectron2Wrapper': 'mmdet',
    'HuggingFaceClassifier': 'mmpretrain',
    'RAMNormal': 'mmpretrain',
    'RAMOpenset': 'mmpretrain',
    'VPD': 'mmseg',
}


@pytest.mark.parametrize('name', REFUSED)
def test_a_part_that_evaluates_or_unpickles_what_it_is_given_is_refused(name, tmp_path):
    for kind in (name, f'{REFUSED[name]}.{name}'):
        described = DescribedModel('mmdet', dict(part=dict(type=kind)), [])
        for scope in {described.scope, REFUSED[name]}:
            described.scope = scope
            with pytest.raises(UserError, match=f'model.part.type=.{kind}. .*nothing is imported'):
                DescribedModel.read(write(tmp_path / 'a', described))


@pytest.mark.parametrize('library', sorted(set(REFUSED.values())))
def test_the_parts_that_are_refused_are_there(library):
    pytest.importorskip(f'{library}.models', exc_type=ImportError)
    there = registered(library)
    assert {name for name, of in REFUSED.items() if of == library} - there == set()


def test_code_from_elsewhere_is_refused(tmp_path):
    described = changed('model.backbone.trust_remote_code', True)
    with pytest.raises(UserError, match='could load code from elsewhere'):
        DescribedModel.read(write(tmp_path / 'a', described))


def test_hooks_and_the_like_which_write_files_are_no_part_of_a_model(tmp_path):
    described = changed('model.train_cfg.assigner.type', 'CheckpointHook')
    with pytest.raises(UserError, match="nothing of the name .*'CheckpointHook' is registered"):
        DescribedModel.read(write(tmp_path / 'a', described))


def test_functions_of_mmcv_that_a_test_cfg_names_are_known(tmp_path):
    DescribedModel.read(write(tmp_path / 'a', changed('model.test_cfg.nms.type', 'soft_nms')))


def test_a_class_in_the_place_of_a_name_is_written_by_its_name(tmp_path):
    from mmdet.models import CSPNeXt

    init_default_scope('mmdet')
    cfg = rtmdet()
    cfg.model.backbone.type = CSPNeXt
    back = DescribedModel.read(write(tmp_path / 'a', DescribedModel.of(cfg)))
    assert back.model['backbone']['type'] == 'mmdet.CSPNeXt'


def test_what_cannot_be_written_is_said_when_it_is_read(tmp_path):
    described = DescribedModel.of(rtmdet())
    described.model['head'] = dict(loss=print)
    folder = write(tmp_path / 'a', described)
    with pytest.raises(
        UserError, match=r'cannot say all of its model: model\.head\.loss is a buil'
    ):
        DescribedModel.read(folder)


@pytest.mark.parametrize('text', ['', '[]', '{"format": 1}', '{"format": "x", "model": {}}'])
def test_a_damaged_file_is_one_line(text, tmp_path):
    (tmp_path / DESCRIPTION_NAME).write_text(text)
    with pytest.raises(UserError, match='is damaged|is none of'):
        DescribedModel.read(str(tmp_path))


def test_a_newer_file_and_a_folder_without_one_say_what_to_do(tmp_path):
    with pytest.raises(UserError, match='has no model_config.json.*behind --adapters'):
        DescribedModel.read(str(tmp_path))
    (tmp_path / DESCRIPTION_NAME).write_text('{"format": 99}')
    with pytest.raises(UserError, match='newer version'):
        DescribedModel.read(str(tmp_path))


def test_a_training_that_was_given_a_model_says_that_no_config_has_it(tmp_path):
    folder = write(tmp_path / 'a', DescribedModel.of(Config(dict(test_dataloader=object()))))
    with pytest.raises(UserError, match='was given a model, not the config of one; name the conf'):
        DescribedModel.read(folder)


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        ('model.backbone.dtype', 'float32 for x in y', 'is the name of no type of numbers'),
        ('model.backbone.act', 'float32.\uff3f\uff3fname', 'could be code'),
        ('model.backbone._scope_', 'innocent_module', 'could load code'),
        ('model.backbone.weights_only', False, 'could load code'),
        ('model.backbone.decode_backend', 'pickle', 'read or run'),
    ],
)
def test_values_that_a_part_evaluates_or_hands_on_to_a_loader_are_refused(
    path, value, message, trap, tmp_path
):
    with pytest.raises(UserError, match=message):
        DescribedModel.read(write(tmp_path / 'a', changed(path, value)))


def test_images_are_read_from_no_backend_that_imports(tmp_path):
    described = changed('model.a.backend_args', dict(backend='local'))
    DescribedModel.read(write(tmp_path / 'a', described))
    for wrong in (dict(backend='memcached'), dict(backend='local', sys_path='.'), 'local'):
        with pytest.raises(UserError, match='refused|are read from one of'):
            DescribedModel.read(write(tmp_path / 'a', changed('model.a.backend_args', wrong)))


def test_a_metainfo_is_names_and_numbers_where_one_is_read(tmp_path):
    content = dict(dataset_name='face', keypoint_info={0: dict(name='left eye')})
    right = changed('model.loss', dict(metainfo={'@metainfo': content}))
    DescribedModel.read(write(tmp_path / 'a', right))
    for place, value in (
        ('metainfo', {'@metainfo': dict(name='{{ fileDirname }}')}),
        ('metainfo', {'@metainfo': dict(name='a\\n_base_')}),
        ('other', {'@metainfo': content}),
        ('metainfo', {'@metainfo': content, 'more': 1}),
    ):
        described = changed('model.loss', {place: value})
        with pytest.raises(UserError, match='which is no name|is read nowhere'):
            DescribedModel.read(write(tmp_path / 'a', described))
    described = changed('model.loss', {})
    described.pipeline = [dict(type='Resize', metainfo={'@metainfo': content})]
    with pytest.raises(UserError, match='is read nowhere'):
        DescribedModel.read(write(tmp_path / 'a', described))


def test_while_a_described_model_is_built_no_registry_imports_a_name(trap, tmp_path):
    """Some parts take a class by its name from another key than `type`."""
    from mmengine.registry import MODELS

    for name in (f'{trap}.Model', trap):
        with (
            pytest.raises(UserError, match='nothing is imported for its name'),
            DescribedModel.of(rtmdet()).config(),
        ):
            MODELS.build(dict(type=name))
    assert MODELS.get('mmengine.model.BaseModule') is not None


@pytest.mark.parametrize('content', [dict(model=[]), dict(pipeline={}), dict(model='x')])
def test_other_kinds_of_values_than_those_are_damage(content, tmp_path):
    text = json.dumps(dict(dict(format=1, default_scope='mmdet', model={}), **content))
    (tmp_path / DESCRIPTION_NAME).write_text(text)
    with pytest.raises(UserError, match='is damaged: TypeError'):
        DescribedModel.read(str(tmp_path))
