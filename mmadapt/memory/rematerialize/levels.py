"""What can be made again beside what is cheap, by name."""

from collections.abc import Iterable

# What each costs in time is in docs/memory.md.
LEVELS = dict(
    resampling='pooling and interpolation',
    softmax='softmax',
    relu='one bit an element where a ReLU keeps its output for itself alone',
    attention='softmax, attention probabilities and what attention puts out',
    low_rank='`A x` of LoRA in Linear layers and behind dropout',
    roi='the features of regions of interest',
)
_INCLUDES = dict(attention=('softmax',))
# Their whole forward is one function.
PARTS = dict(roi='BaseRoIExtractor')


def with_included(levels: Iterable[str]) -> set[str]:
    """Return levels with those that they include."""
    return {level for name in levels for level in (name, *_INCLUDES.get(name, ()))}
