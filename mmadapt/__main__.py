"""``python -m mmadapt``."""

from mmadapt_command import main

if __name__ == '__main__':
    main()
