"""The most memory that something takes on a CPU, as torch's allocator tells the profiler."""

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from torch.profiler import ProfilerActivity, profile


def cpu_peak(run: Callable[[], object]) -> int:
    """Return the most bytes that are allocated at once while something runs.

    What was there before does not count, nor does what is freed of it. What libraries allocate by
    themselves, such as the workspaces of oneDNN, is not seen.

    Args:
        run (callable): What to run, in this thread.
    """
    # Or the profiler complains on stderr that this machine has no GPU.
    os.environ.setdefault('KINETO_LOG_LEVEL', '5')
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.*Profiler clears events')
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            run()
    with TemporaryDirectory() as folder:
        trace = Path(folder, 'trace.json')
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding='utf-8'))['traceEvents']
    live: dict[int, int] = {}
    total = peak = 0
    changes = [event for event in events if event['name'] == '[memory]']
    for event in sorted(changes, key=lambda event: event['ts']):
        address, size = event['args']['Addr'], event['args']['Bytes']
        if size > 0:
            live[address] = size
            total += size
        else:
            total -= live.pop(address, 0)
        peak = max(peak, total)
    return peak
