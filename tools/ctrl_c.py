"""Ctrl-C in the first seconds, while Python imports what a tool needs: imported before all that.

An interrupt would otherwise be a traceback out of whatever is being imported, or be swallowed by a
library that tries an import. Later on it is what :func:`mmadapt.cli.run_tool` makes of it.
"""

import os
import shlex
import signal
import sys


def _stop(number, frame) -> None:
    # Of several processes our launcher speaks for all; another launcher does not speak.
    launched = 'MMADAPT_REPORTED_BY_LAUNCHER' in os.environ
    if not launched and os.environ.get('LOCAL_RANK', '0') == '0':
        command = os.environ.get('MMADAPT_COMMAND') or shlex.join(['python', *sys.argv])
        sys.stderr.write(f'Stopped by Ctrl-C. To start again: {command.strip()}\n')
        sys.stderr.flush()
    os._exit(130)


signal.signal(signal.SIGINT, _stop)
# tools/launch.py has its processes wait with them until here.
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
