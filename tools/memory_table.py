"""``mmadapt measure``; with ``--plan``, ``mmadapt plan``.

python tools/memory_table.py CONFIG --recipes none amp checkpoint lora+amp+checkpoint
python tools/memory_table.py CONFIG --plan --memory 24GiB --processes 8
"""

import sys

from mmadapt_command import run

if __name__ == '__main__':
    arguments = [word for word in sys.argv[1:] if word != '--plan']
    run('measure' if '--plan' not in sys.argv else 'plan', arguments)
