"""``python -m mmadapt``."""

from mmadapt_command import main

main()
