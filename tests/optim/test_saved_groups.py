"""An optimizer's state from a run that trained something else."""

import pytest

from mmadapt import UserError
from mmadapt.optim.saved_groups import check_groups


def test_the_state_of_other_parameters_is_refused_before_torch_fails():
    saved = [dict(lr=0.1, params=[0, 1]), dict(lr=0.2, params=[2])]
    check_groups(saved, [2, 1])
    for sizes, count, groups in (([3], 3, 1), ([2, 2], 4, 2), ([1, 2], 3, 2)):
        with pytest.raises(
            UserError,
            match=f'over 3 parameters in 2 groups, this run one over '
            f'{count} in {groups}: .* start from it with load_fr',
        ):
            check_groups(saved, sizes)
