"""The processes among which weights are divided."""

from mmengine.device import get_device
from mmengine.dist import get_world_size
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from ...errors import UserError


def make_mesh(replicate: int) -> DeviceMesh:
    """Arrange the processes of a run.

    Args:
        replicate (int): How many copies of the model there are; each is divided among as many
            processes as the others, neighbors by rank.

    Returns:
        DeviceMesh: ``(shard, )``, or ``(replicate, shard)`` where there are several copies.

    Raises:
        UserError: The processes cannot be divided into so many groups.
    """
    size = get_world_size()
    whole = isinstance(replicate, int) and not isinstance(replicate, bool) and replicate > 0
    if not whole or size % replicate:
        near = [n for n in range(1, size + 1) if size % n == 0]
        raise UserError(f'strategy.replicate={replicate!r}: the {size} processes of this run can be'
                        f' divided into {near} groups of one size')
    if replicate == 1:
        return init_device_mesh(get_device(), (size, ), mesh_dim_names=('shard', ))
    return init_device_mesh(get_device(), (replicate, size // replicate),
                            mesh_dim_names=('replicate', 'shard'))
