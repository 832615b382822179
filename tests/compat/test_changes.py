"""What importing mmadapt changes of other packages is what it says."""

import json
import subprocess
import sys

from mmadapt.compat import CHANGES

# Everything that modules of the stack hold, two levels deep, before and after.
_SCRIPT = """
import json, sys, types, warnings
import mmengine.runner, mmengine.optim, mmengine.model, mmengine.dist, torch, torch.distributed
import torch._weights_only_unpickler
# What torch does to itself when more of it is imported is not ours.
ROOTS = ('mmengine', 'mmcv', 'sys', 'warnings', 'pickle')
TORCH = ('torch._weights_only_unpickler', 'torch.serialization', 'torch.nn', 'torch.optim',
         'torch.distributed', 'torch.autograd', 'torch.utils.checkpoint', 'torch.cuda')
ATOMS = (dict, list, set)

def held():
    found = {}
    for name, module in [*sys.modules.items()]:
        watched = name.split('.')[0] in ROOTS or name.startswith(TORCH)
        if not watched or not isinstance(module, types.ModuleType):
            continue
        for key, value in [*vars(module).items()]:
            found[f'{name}.{key}'] = value
            if getattr(value, '__module__', None) == name or name == 'mmengine.registry.root':
                for attribute, part in [*getattr(value, '__dict__', {}).items()]:
                    found[f'{name}.{key}.{attribute}'] = part
    # A value in a container counts too, unless it is new under a name that was free.
    return found, {key: dict(value) if isinstance(value, dict) else [*value]
                   for key, value in found.items() if isinstance(value, ATOMS)}

before, inside = held()
import mmadapt
after, inside_after = held()
changed = {key for key, value in before.items() if after.get(key) is not value}
for key, value in inside.items():
    now = inside_after.get(key)
    same = ({k: v for k, v in now.items() if k in value} == value if isinstance(value, dict)
            and isinstance(now, dict) else now == value)
    if not same:
        changed.add(key)
print(json.dumps(sorted(changed)))
"""


def test_nothing_else_of_the_stack_is_changed():
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', _SCRIPT], capture_output=True, text=True, check=True
    )
    changed = json.loads(done.stdout.splitlines()[-1])
    said = {place for change in CHANGES for place in change.where}
    assert set(changed) == said
