"""torchrun for tools/train.py and tools/test.py, with short errors; what dist_*.sh call.

python tools/launch.py TORCHRUN_ARGS SCRIPT SCRIPT_ARGS
"""

from mmadapt_command import catch_interrupt

if __name__ == '__main__':
    catch_interrupt()
    import sys

    from mmadapt.cli.launcher import launch

    sys.exit(launch(sys.argv[1:]))
