"""What users do in a notebook: call several methods of one runner."""

import sys

from mmengine.config import Config
from mmengine.registry import RUNNERS

from mmadapt import UserError

cfg = Config.fromfile(sys.argv[1])
cfg.work_dir = sys.argv[2]
runner = RUNNERS.build(cfg)
try:
    for method in sys.argv[3:]:
        getattr(runner, method)()
except UserError as error:
    print('refused:', error)
