"""Whether the state of an optimizer is that of another one's parameters."""

from collections.abc import Sequence

from ..errors import UserError


def check_groups(saved: Sequence[dict], sizes: Sequence[int]) -> None:
    """Check that a state dict is of an optimizer over as many parameters, in as many groups.

    Args:
        saved (list[dict]): Its ``param_groups``.
        sizes (list[int]): The number of parameters in each group of the optimizer that is to load.

    Raises:
        UserError: It is not.
    """
    counts = [len(group['params']) for group in saved]
    if counts != list(sizes):
        raise UserError(
            f'the checkpoint has an optimizer over {sum(counts)} parameters in {len(counts)} '
            f'groups, this run one over {sum(sizes)} in {len(sizes)}: what is trained, or '
            'optim_wrapper.paramwise_cfg, is another; start from it with load_from'
        )
