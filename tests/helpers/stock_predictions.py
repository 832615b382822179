"""What stock models predict from merged files, in a process in which there is no mmadapt."""

import importlib.util
import json
import sys
from pathlib import Path

if __name__ == '__main__':
    sys.modules['mmadapt'] = None  # importing it raises an ImportError

import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import MODELS, init_default_scope  # noqa: E402


def stock_config(name: str) -> Config:
    """Return a stock config such as `mmdet::rtmdet/...`; MMEngine reads all metafiles for that."""
    package, path = name.split('::')
    configs = Path(importlib.util.find_spec(package).origin).parent / '.mim' / 'configs'
    return Config.fromfile(configs / path)


def _predict(name, stock, options, merged, task, side):
    cfg = stock_config(stock)
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
