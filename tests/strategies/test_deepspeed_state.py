"""An optimizer under ZeRO makes torch's steps, and its state is the one torch's has."""

import importlib.util
import json
from pathlib import Path

import pytest
import stock_runs

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('deepspeed') is None, reason='deepspeed is not installed'
)
SCRIPT = Path(__file__).parent / 'zero_steps.py'


def test_steps_and_states_are_those_of_torch(tmp_path):
    # Five optimizers in every stage, offloaded, with accumulation. Layers that cannot be sharded
    # evenly, a frozen one, a scale without dimensions, two groups; weights that differ between the
    # processes until the first one's are handed out.
    stock_runs.run(SCRIPT, tmp_path / 'found.json', processes=2)
    found = json.loads((tmp_path / 'found.json').read_text())
    assert len(found) == 27
    assert {key: lines for key, lines in found.items() if lines} == {}
