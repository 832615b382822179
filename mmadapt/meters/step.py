"""What is read off a step: time, bytes saved for backward, bytes of the optimizer and of a file."""

import time
from itertools import chain, pairwise
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ..adapters import AdapterLayer


class Stopwatch:
    """Times the parts of a step; on a GPU by events, so that nothing waits in between.

    Args:
        device (torch.device): Where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == 'cuda'
        if self._cuda:
            torch.cuda.synchronize(device)
        self._marks: list = []
        self.mark()

    def mark(self) -> None:
        """End a part; the next one begins."""
        if self._cuda:
            self._marks.append(torch.cuda.Event(enable_timing=True))
            self._marks[-1].record()
        else:
            self._marks.append(time.perf_counter())

    def parts(self) -> list[float]:
        """Return the seconds that each part took."""
        if self._cuda:
            torch.cuda.synchronize()
            return [start.elapsed_time(end) / 1e3 for start, end in pairwise(self._marks)]
        return [end - start for start, end in pairwise(self._marks)]


class SavedForBackward:
    """Counts the memory that autograd keeps for backward. To be used with ``with``.

    What counts is whole storages, each once: a view keeps all of what it looks at alive. Parameters
    and buffers of the model are not counted: they are there anyway.

    Args:
        model (nn.Module): The model whose forward pass is counted.

    Attributes:
        counts_only (bool): That its hooks keep what they get as it is.
    """

    counts_only = True

    def __init__(self, model: nn.Module) -> None:
        # By the object, not by its address: a storage that is sharded has none.
        self._own = {t.untyped_storage()._cdata for t in chain(model.parameters(), model.buffers())}
        # What a forward pass saves and drops again, such as a branch without a loss, goes from here
        # too, and no address in it can have been used twice.
        self._saved: WeakSet[_Saved] = WeakSet()
        self._hooks = saved_tensors_hooks(self._pack, lambda saved: saved.tensor)

    def __enter__(self) -> 'SavedForBackward':
        self._hooks.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._hooks.__exit__(*error)

    def bytes(self) -> int:
        """Return how many bytes are kept at this moment."""
        storages = {}
        for saved in self._saved:
            if saved.tensor.layout is not torch.strided:
                continue  # sparse ones have no memory of their own
            storage = saved.tensor.untyped_storage()
            if storage._cdata not in self._own:
                storages[storage._cdata] = storage.nbytes()
        return sum(storages.values())

    def _pack(self, tensor: Tensor) -> '_Saved':
        saved = _Saved(tensor.detach())
        self._saved.add(saved)
        return saved


class _Saved:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def bytes_of_optimizer(optimizer: torch.optim.Optimizer) -> int:
    """Return the bytes of an optimizer's state."""
    return sum(
        value.nbytes
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, Tensor)
    )


def bytes_of_file(model: nn.Module) -> int:
    """Return the bytes of what a file has to hold: adapters, and what training changes.

    Args:
        model (nn.Module): The model in training mode.
    """
    moving = {
        buffer
        for module in model.modules()
        if module.training and getattr(module, 'track_running_stats', False)
        for buffer in module.buffers(recurse=False)
    }
    adapters = {
        getattr(layer, name)
        for layer in model.modules()
        if isinstance(layer, AdapterLayer)
        for name in layer.adapter_names
    }
    trained = {p for p in model.parameters() if p.requires_grad}
    return sum(t.nbytes for t in moving | adapters | trained)
