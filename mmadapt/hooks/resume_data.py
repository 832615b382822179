"""The data of a resumed run: the same as before, from where it was left.

MMEngine's loop by epochs, resumed from a checkpoint written inside an epoch, begins it again. Its
data loader cannot be told to begin later either: where worker processes make the batches, those of
the beginning leave them in the random state that the rest needs. So they are made once more and
dropped.
"""

import itertools
from collections.abc import Callable

from mmengine.dist import get_rank
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop

from ..runs import randomness_settings, rebuild_train_loop

_PARTS = ('dataset', 'datasets', 'pipeline', 'transforms')


def drop_batches(loop: BaseLoop, count: int, then: Callable[[], None]) -> None:
    """Let a train loop draw its first batches without training on them.

    No hook is called for them and nothing is counted; the batch after them has the index and is
    the iteration that it is in a run that was never stopped.

    Args:
        loop (BaseLoop): MMEngine's loop by epochs, before an epoch, or its loop by iterations,
            before its first one; the latter draws the batches by itself.
        count (int): How many, at least one.
        then (Callable): Called behind the last of them, before another batch is drawn.
    """
    if isinstance(loop, IterBasedTrainLoop):
        drawn = loop.dataloader_iterator
        loop.dataloader_iterator = itertools.chain(
            itertools.islice(drawn, count), _nothing_but(then), drawn
        )
        return

    def skip(idx: int, data_batch) -> None:
        if idx + 1 == count:
            del loop.run_iter
            then()

    loop.run_iter = skip


def use_seed(runner, seed: int | None) -> None:
    """Have a run that is being resumed take its data in the order of the run it resumes.

    A config without a seed gets another one each time it is run. MMEngine takes the old one from
    the checkpoint, but only after sampler and workers have been built with the new one.

    Args:
        runner (Runner): A runner that is loading the checkpoint it resumes.
        seed (int, optional): What the checkpoint names as its seed, that of the first process.
    """
    settings = randomness_settings(runner)
    own = runner.seed - (get_rank() if settings.get('diff_rank_seed') else 0)
    if seed is None or seed == own or not isinstance(runner.cfg.get('train_cfg'), dict):
        return
    runner.set_randomness(**{**settings, 'seed': seed})
    rebuild_train_loop(runner)


def inexact_because(loop: BaseLoop) -> str | None:
    """Return what keeps a run resumed in or behind its second epoch from being exact, if anything.

    Args:
        loop (BaseLoop): A train loop, resumed.

    Returns:
        str, optional: A sentence for the log.
    """
    loader = loop.dataloader
    if loader.persistent_workers:
        return (
            'train_dataloader.persistent_workers=True: the random state of worker processes '
            'is in no checkpoint, so the resumed run sees other augmentations'
        )
    # Workers that begin anew with each epoch have an empty cache there, as the resumed run has.
    if isinstance(loop, EpochBasedTrainLoop) and loop.epoch > 0 and loader.num_workers == 0:
        for part in _parts(loader.dataset):
            if hasattr(part, 'results_cache'):
                return (
                    f'the images that {type(part).__name__} has cached are in no checkpoint, '
                    'so the resumed run mixes others; with train_dataloader.num_workers=1 and '
                    'persistent_workers=False every epoch begins with an empty cache'
                )
    return None


def _nothing_but(call: Callable[[], None]):
    call()
    yield from ()


def _parts(dataset):
    """Yield a data set, the data sets in it and the transforms of all of them."""
    yield dataset
    for name in _PARTS:
        inner = getattr(dataset, name, None)
        for part in inner if isinstance(inner, (list, tuple)) else [inner]:
            if part is not None:
                yield from _parts(part)
