"""The base of an adapted model: what it provides, and how it is found again."""

import hashlib
import http.server
import threading
from pathlib import Path

import pytest
import torch
from mmengine.model import BaseModule
from torch import nn

from mmadapt import UserError
from mmadapt.files import BaseRecord, base_state_dict, make_base_record, read_checkpoint


class Model(BaseModule):
    def __init__(self, pretrained=None):
        super().__init__()
        self.backbone = Backbone(pretrained)
        self.bbox_head = nn.Linear(4, 2)


class Backbone(BaseModule):
    def __init__(self, pretrained=None):
        super().__init__(pretrained and dict(type='Pretrained', checkpoint=pretrained))
        self.fc, self.bn = nn.Linear(3, 4), nn.BatchNorm1d(4)


def write(path, state):
    torch.save(dict(state_dict=state), path)
    return str(path)


def test_layers_of_another_shape_or_absent_are_not_in_the_base(tmp_path):
    model = Model()
    state = model.state_dict()
    state['bbox_head.weight'] = torch.zeros(80, 4)
    del state['backbone.fc.bias'], state['backbone.bn.num_batches_tracked']
    record = make_base_record(model, write(tmp_path / 'base.pth', state), state)
    assert record.not_in_base == ['backbone.fc.bias', 'bbox_head.weight']


def test_a_base_file_is_recorded_with_its_absolute_path_and_hash(tmp_path, monkeypatch):
    path = write(tmp_path / 'base.pth', {})
    monkeypatch.chdir(tmp_path)
    record = make_base_record(Model(), 'base.pth', {})
    assert record.load_from == path
    assert record.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert BaseRecord(**record.to_dict()) == record


def test_an_address_is_recorded_as_it_is():
    record = make_base_record(Model(), 'https://example.org/base.pth', {})
    assert (record.load_from, record.sha256) == ('https://example.org/base.pth', None)


def test_what_a_pretrained_module_loads_for_itself_is_in_the_base(tmp_path):
    model = Model(write(tmp_path / 'backbone.pth', Backbone().state_dict()))
    record = make_base_record(model, None, {})
    assert record.pretrained == ['backbone']
    assert record.not_in_base == ['bbox_head.bias', 'bbox_head.weight']


def test_what_a_pretrained_file_does_not_hold_is_not_in_the_base(tmp_path):
    state = Backbone().state_dict()
    state['fc.weight'] = torch.zeros(9, 9)
    record = make_base_record(Model(write(tmp_path / 'backbone.pth', state)), None, {})
    assert 'backbone.fc.weight' in record.not_in_base
    assert 'backbone.fc.bias' not in record.not_in_base


def test_the_base_comes_back_from_its_file_and_from_another_place(tmp_path):
    model, state = (
        Model(),
        {key: torch.full_like(value, 3) for key, value in Model().state_dict().items()},
    )
    path = write(tmp_path / 'base.pth', state)
    record = make_base_record(model, path, state)
    assert all(v.eq(3).all() for v in base_state_dict(model, record).values())
    moved = tmp_path / 'moved.pth'
    (tmp_path / 'base.pth').rename(moved)
    assert all(v.eq(3).all() for v in base_state_dict(model, record, str(moved)).values())
    with pytest.raises(
        UserError,
        match='the base model: checkpoint .*base.pth not found; in its '
        r"folder there are \['moved.pth'\].*peft.base=FILE",
    ):
        base_state_dict(model, record)


def test_a_pretrained_backbone_that_was_not_initialized_yet_is_loaded(tmp_path):
    source = {key: torch.full_like(value, 5) for key, value in Backbone().state_dict().items()}
    path = write(tmp_path / 'backbone.pth', source)
    model = Model(path)
    state = base_state_dict(model, make_base_record(model, None, {}))
    assert set(state) == {f'backbone.{key}' for key in source}
    assert state['backbone.fc.weight'].eq(5).all()


def test_load_from_wins_over_what_a_pretrained_module_loaded(tmp_path):
    source = {key: torch.full_like(value, 5) for key, value in Backbone().state_dict().items()}
    model = Model(write(tmp_path / 'backbone.pth', source))
    whole = {key: torch.full_like(value, 7) for key, value in model.state_dict().items()}
    record = make_base_record(model, write(tmp_path / 'base.pth', whole), whole)
    assert base_state_dict(model, record)['backbone.fc.weight'].eq(7).all()


@pytest.mark.parametrize('bare', [True, False])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_a_checkpoint_and_a_bare_state_dict_are_read_with_and_without_ddps_prefix(
    tmp_path, bare, prefix
):
    state = {f'{prefix}fc.weight': torch.ones(2)}
    torch.save(state if bare else dict(state_dict=state, meta=dict(epoch=3)), tmp_path / 'x.pth')
    checkpoint = read_checkpoint(str(tmp_path / 'x.pth'))
    assert set(checkpoint['state_dict']) == {'fc.weight'}
    assert bare or checkpoint['meta'] == dict(epoch=3)


def test_a_checkpoint_that_is_not_there_names_its_neighbors(tmp_path):
    for name in ('epoch_1.pth', 'epoch_12.pth', 'notes.txt'):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"epoch_2.pth not found; in its folder .* \['epoch_"):
        read_checkpoint(str(tmp_path / 'epoch_2.pth'))
    with pytest.raises(UserError, match='not found: there is no folder '):
        read_checkpoint(str(tmp_path / 'no' / 'epoch_2.pth'))
    (tmp_path / 'adapter').mkdir()
    (tmp_path / 'adapter' / 'adapter_config.json').touch()
    with pytest.raises(UserError, match=r"best_adapter not found; in its folder .* \['adapter'"):
        read_checkpoint(str(tmp_path / 'best_adapter'))


@pytest.mark.parametrize('damage', [b'', b'PK\x03\x04 half', b'<html>404</html>', 'half'])
def test_half_a_checkpoint_is_called_that(tmp_path, damage):
    path = write(tmp_path / 'x.pth', dict(a=torch.ones(1000)))
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2] if damage == 'half' else damage)
    with pytest.raises(UserError, match='x.pth is not a readable checkpoint, or only half of one'):
        read_checkpoint(path)


def test_a_file_of_something_else_is_called_that(tmp_path):
    torch.save([1, 2], tmp_path / 'x.pth')
    with pytest.raises(UserError, match='holds a list, not a state dict'):
        read_checkpoint(str(tmp_path / 'x.pth'))


def test_an_address_that_cannot_be_reached_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))

    class Nothing(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(('127.0.0.1', 0), Nothing) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f'http://127.0.0.1:{server.server_port}/base-0123abcd.pth'
        with pytest.raises(UserError, match=f'cannot download {url} .*set load_from to the file'):
            read_checkpoint(url)
        thread.join()
