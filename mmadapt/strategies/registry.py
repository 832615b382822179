"""Where the strategies are registered: MMEngine's registry, and our own scope of it.

Some of ours do what one of MMEngine's of the same name is meant to do. ``type='mmadapt.NAME'`` is
ours; a name that MMEngine has not got works without the scope.
"""

from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.registry import Registry

STRATEGIES = Registry('strategy', scope='mmadapt', parent=MMENGINE_STRATEGIES)
