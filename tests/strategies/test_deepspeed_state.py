"""An optimiser under ZeRO makes torch's steps, and its state is the one torch's has."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest
import stock_runs

pytestmark = pytest.mark.skipif(importlib.util.find_spec('deepspeed') is None,
                                reason='deepspeed is not installed')
SCRIPT = Path(__file__).parent / 'zero_steps.py'


def test_steps_and_states_are_those_of_torch(tmp_path):
    # Five optimisers in every stage, offloaded, with accumulation. Layers that cannot be divided
    # evenly, a frozen one, a scale without dimensions, two groups; weights that differ between the
    # processes until the first one's are handed out.
    done = subprocess.run(
        stock_runs.command(SCRIPT, tmp_path / 'found.json', processes=2),
        env=stock_runs.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=600)
    assert done.returncode == 0, done.stdout[-4000:]
    found = json.loads((tmp_path / 'found.json').read_text())
    assert len(found) == 25
    assert {key: lines for key, lines in found.items() if lines} == {}
