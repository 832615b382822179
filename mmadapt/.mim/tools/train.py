"""``mmadapt train``, for ``mim train mmadapt CONFIG``."""

from mmadapt_command import run

if __name__ == '__main__':
    run('train')
