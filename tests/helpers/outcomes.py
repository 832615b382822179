"""Which tests ran and which were skipped, written down by one run of pytest and read by the next.

The tests run twice: all of them where none of the extras is installed, then, beside the extras,
those that were skipped there. `python outcomes.py FIRST SECOND` compares what the two wrote: a test
that neither has run wants a GPU, or is named and fails the comparison.
"""

import json
import sys
from pathlib import Path

import pytest
import torch

NEEDS_GPU = 'needs a GPU'
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason=NEEDS_GPU)


def pytest_addoption(parser):
    group = parser.getgroup('outcomes')
    group.addoption('--outcomes', metavar='FILE', help='write down what ran and what was skipped')
    group.addoption(
        '--not-run-in', metavar='FILE', help='only what did not run where FILE was written'
    )


def leave_out_what_has_run(config, items):
    """Drops of the collected tests those that `--not-run-in` names."""
    path = config.getoption('--not-run-in')
    if path is None:
        return
    ran = set(json.loads(Path(path).read_text())['ran'])
    dropped = [item for item in items if item.nodeid in ran]
    items[:] = [item for item in items if item.nodeid not in ran]
    config.hook.pytest_deselected(items=dropped)


def pytest_terminal_summary(terminalreporter, config):
    """Writes what ran, and why what was skipped was."""
    path = config.getoption('--outcomes')
    if path is None:
        return
    stats = terminalreporter.stats
    skipped = {
        report.nodeid: report.longrepr[2].removeprefix('Skipped: ')
        for report in stats.get('skipped', [])
    }
    ran = [
        report.nodeid
        for outcome in ('passed', 'failed', 'error', 'xfailed', 'xpassed')
        for report in stats.get(outcome, [])
    ]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(dict(ran=sorted(set(ran)), skipped=skipped), indent=0))


def compare(first: dict, second: dict) -> tuple[str, list[str]]:
    """What two runs did together.

    Args:
        first (dict): What the run without the extras wrote.
        second (dict): What the run beside the extras wrote, which left out what the first has run.

    Returns:
        tuple[str, list[str]]: A line with the numbers, and each test that no run has made although
        it needs no GPU, with the reason.
    """
    left = {**first['skipped'], **second['skipped']}
    # A file that is skipped as a whole is named without its tests.
    ran = {*second['ran'], *(name.partition('::')[0] for name in second['ran'])}
    left = {name: reason for name, reason in left.items() if name not in ran}
    unwanted = {name: reason for name, reason in left.items() if reason != NEEDS_GPU}
    line = (
        f'{len(first["ran"]) + len(second["ran"])} tests ran, {len(first["ran"])} without the '
        f'extras and {len(second["ran"])} beside them; {len(left) - len(unwanted)} were skipped '
        'for want of a GPU'
    )
    return line, [f'{name}: {reason}' for name, reason in sorted(unwanted.items())]


if __name__ == '__main__':
    said, missing = compare(*(json.loads(Path(path).read_text()) for path in sys.argv[1:3]))
    print(f'make test: {said}')
    if missing:
        sys.exit('make test: no run has made these, and they need no GPU:\n' + '\n'.join(missing))
