"""``mmadapt dataset``.

python tools/dataset_config.py data/face_det
"""

from mmadapt_command import run

if __name__ == '__main__':
    run('dataset')
