"""What stock models predict from merged files, in a process in which there is no mmadapt."""

import importlib
import json
import sys
from pathlib import Path

sys.modules['mmadapt'] = None  # importing it raises an ImportError

import torch  # noqa: E402
from mmengine.hub import get_config  # noqa: E402
from mmengine.registry import MODELS, init_default_scope  # noqa: E402


def _predict(name, stock, options, merged, task, side):
    cfg = get_config(stock)
    cfg.merge_from_dict(options)
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    init_default_scope(stock.split('::')[0])
    model = MODELS.build(cfg.model)
    model.load_state_dict(torch.load(merged, weights_only=False)['state_dict'], strict=True)
    return importlib.import_module(task).predict(model.eval(), side)


if __name__ == '__main__':
    plan = Path(sys.argv[1])
    found = {leaf['name']: _predict(**leaf) for leaf in json.loads(plan.read_text())}
    torch.save(found, plan.with_suffix('.pth'))
