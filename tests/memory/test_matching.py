"""Which modules the patterns of `memory` mean."""

import re

import pytest
from torch import nn

from mmadapt import UserError
from mmadapt.memory.matching import find_modules


class Head(nn.Linear):
    pass


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 1)
        self.roi = nn.ModuleDict(dict(bbox_head=Head(2, 2), mask_head=nn.Linear(2, 2)))
        self.bbox_head = nn.Sequential(nn.Linear(2, 2), nn.GELU())
        self.alias = self.stem
        self.GELU = nn.ReLU()  # named like a class


@pytest.mark.parametrize(
    ('patterns', 'wanted'),
    [
        ('Conv2d', ['stem']),
        (['Head'], ['roi.bbox_head']),
        (['Linear'], ['roi.bbox_head', 'roi.mask_head', 'bbox_head.0']),  # a Head is a Linear
        (['bbox_head'], ['roi.bbox_head', 'bbox_head']),
        (['roi.bbox_head'], ['roi.bbox_head']),
        ([r'roi\..*_head'], ['roi.bbox_head', 'roi.mask_head']),
        ([r'bbox_head\.\d'], ['bbox_head.0', 'bbox_head.1']),
        ([r'bbox_hea.'], ['bbox_head']),  # the whole name, not a part of it
        (['GELU'], ['bbox_head.1', 'GELU']),
        (['alias'], ['stem']),
        (['ReLU', 'stem', 'Conv2d'], ['stem', 'GELU']),
        ([], []),
    ],
)
def test_patterns_mean_classes_names_and_regular_expressions(patterns, wanted):
    model = Model()
    found = find_modules(model, patterns, 'memory.x')
    assert list(found) == wanted
    assert all(found[name] is model.get_submodule(name) for name in wanted)


@pytest.mark.parametrize(
    ('pattern', 'nearest'),
    [
        ('Conv2D', "'Conv2d'"),
        ('roi.bbox_haed', "'roi.bbox_head'"),
        ('mask_haed', "'mask_head'"),
        ('ox_head', "'bbox_head'"),
    ],
)
def test_a_pattern_that_means_nothing_is_refused_with_what_is_near(pattern, nearest):
    with pytest.raises(
        UserError,
        match=f"memory.x: '{re.escape(pattern)}' is neither .* this Model; nearest: {nearest}",
    ):
        find_modules(Model(), ['stem', pattern], 'memory.x')


@pytest.mark.parametrize('pattern', ['(', 3, None])
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(UserError, match='memory.x: .* is neither'):
        find_modules(Model(), [pattern], 'memory.x')
