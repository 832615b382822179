"""``mmadapt merge``.

python tools/merge_adapter.py CONFIG work_dirs/NAME/best_adapter merged.pth
"""

from mmadapt_command import run

if __name__ == '__main__':
    run('merge')
