"""What makes short runs short: nothing that a test is about.

A run of three steps on tiny images spends most of its time on what a long one does not notice.
"""

import functools
import gc
from contextlib import ExitStack, contextmanager
from unittest import mock

from mmengine.config import utils


@contextmanager
def shortcuts():
    """Leave out what MMEngine does again and again around a run.

    * yapf lays a config out each time that it is logged or written: it stays as it is, valid Python
      all the same.
    * The files that describe a package are read whole for each config that is inherited from it.
    * Each data set that is built has the garbage collector look at every object that was imported.
    """
    gc.collect()
    gc.freeze()
    with ExitStack() as stack:
        for name, instead in (
            ('mmengine.config.config.FormatCode', lambda text, **style: (text, False)),
            (
                'mmengine.config.utils._get_cfg_metainfo',
                functools.cache(utils._get_cfg_metainfo),
            ),
        ):
            stack.enter_context(mock.patch(name, instead))
        yield
    gc.unfreeze()
