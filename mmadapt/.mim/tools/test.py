"""``mmadapt test``, for ``mim test mmadapt CONFIG --checkpoint FILE``."""

from mmadapt_command import run

if __name__ == '__main__':
    run('test')
