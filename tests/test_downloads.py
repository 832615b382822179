"""Downloads that fail are one line with the remedy, and nothing else is taken for one."""

from urllib.error import HTTPError, URLError

import pytest

from mmadapt import UserError, downloads
from mmadapt.downloads import Refusal, ask, building_offline, naming_pretrained


class LocalEntryNotFoundError(FileNotFoundError):
    """Of huggingface_hub, by its name."""


def _from(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    'error',
    [
        URLError('Name or service not known'),
        LocalEntryNotFoundError('no such entry on disk'),
        OSError("We couldn't connect to 'https://huggingface.co' to load this file"),
        _from(TypeError('class `Thing` in thing.py: offline'), ConnectionError('offline')),
    ],
)
def test_a_model_that_cannot_download_when_it_is_built_is_one_line(error):
    with (
        pytest.raises(UserError, match='downloads something when it is built') as caught,
        building_offline(),
    ):
        raise error
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'error', [ValueError('num_classes'), FileNotFoundError('annotations.json'), UserError('peft')]
)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, building_offline():
        raise error
    assert caught.value is error


@pytest.mark.parametrize('name', ['backbone', ''])
def test_a_pretrained_file_is_named_with_its_option(name):
    error = HTTPError('https://host/file.pth', 404, 'Not Found', {}, None)
    option = f'model{"." * bool(name)}{name}.init_cfg.checkpoint=FILE'
    with (
        pytest.raises(
            UserError,
            match=rf'cannot download torchvision://resnet50 \(Not Found\).*'
            f'--cfg-options {option}',
        ),
        naming_pretrained(name, ['torchvision://resnet50']),
    ):
        raise error


@pytest.mark.parametrize(
    ('error', 'refusal'),
    [
        (HTTPError('http://a', 401, 'Unauthorized', {}, None), Refusal('Unauthorized', 401)),
        (URLError('no network'), Refusal('no network')),
        (URLError(TimeoutError('timed out')), Refusal('timed out', slow=True)),
        (TimeoutError('timed out'), Refusal('timed out', slow=True)),
        (ConnectionResetError(), None),
    ],
)
def test_what_a_server_answers_is_told_from_no_answer(error, refusal, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(downloads, 'urlopen', fail)
    assert ask('http://a') == refusal
    slow = refusal is None or refusal.slow
    assert downloads.why_not_downloaded('http://a') == (None if slow else refusal.reason)
