"""Makes or completes `.venv`: `python tools/setup_env.py [EXTRA ...]` (`make env` calls it).

Nothing but the standard library is needed. This file alone is written so that any Python can read
it: an unsupported one gets a sentence rather than a syntax error.
"""

import sys

if not (3, 10) <= sys.version_info[:2] <= (3, 12):
    sys.exit(
        'make env: Python %d.%d (%s) is not supported, 3.10, 3.11 or 3.12 is needed; name one: '
        'make env PYTHON=/path/to/python3.11' % (sys.version_info[:2] + (sys.executable,))
    )

from environment.build import main  # noqa: E402

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
