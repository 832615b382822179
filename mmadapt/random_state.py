"""The state of all random generators that a training draws from, as a checkpoint can hold it."""

import random
from typing import Any

import numpy as np
import torch


def get_random_state() -> dict:
    """Return the states of Python's, numpy's and torch's generators, of the present device too.

    Returns:
        dict: Only what ``torch.load(weights_only=True)`` reads.
    """
    kind, keys, *rest = np.random.get_state(legacy=True)
    state: dict[str, Any] = dict(
        python=random.getstate(),
        torch=torch.get_rng_state(),
        numpy=(kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest),
    )
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict) -> None:
    """Set all generators to what :func:`get_random_state` returned.

    Args:
        state (dict): It; its tensors may have been loaded onto another device.
    """
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())
    version, keys, gauss = state['python']
    random.setstate((version, tuple(keys), gauss))
    kind, keys, *rest = state['numpy']
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), *rest))


def get_torch_state() -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the state of what torch draws from, on the CPU and on the present device."""
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    return torch.get_rng_state(), torch.cuda.get_rng_state() if cuda else None


def set_torch_state(state: tuple[torch.Tensor, torch.Tensor | None]) -> None:
    """Set what torch draws from to what :func:`get_torch_state` returned."""
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
