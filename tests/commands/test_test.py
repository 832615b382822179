"""``mmadapt test``: what it says before it builds anything."""

import pytest
from mmengine.config import Config

from mmadapt.commands.test import apply_args, parse_args
from mmadapt.errors import UserError


def test_predictions_that_are_there_are_overwritten_only_by_force(tmp_path, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')
    out = tmp_path / 'predictions.pkl'
    out.write_text('mine')
    words = ['config.py', str(tmp_path / 'gone.pth'), '--out', str(out)]
    with pytest.raises(UserError, match='predictions.pkl is there; --force overwrites it'):
        apply_args(Config(), parse_args(words))
    with pytest.raises(UserError, match='there is no checkpoint'):  # it goes on
        apply_args(Config(), parse_args([*words, '--force']))
