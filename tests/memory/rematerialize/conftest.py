"""What is small: here less than elsewhere, as the models are."""

import pytest

from mmadapt.memory.rematerialize import saving


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(saving, 'SMALL', 2**12)
