"""The processes among which weights are sharded."""

from mmengine.device import get_device
from mmengine.dist import get_world_size
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh


def make_mesh(replicate: int) -> DeviceMesh:
    """Arrange the processes of a run.

    Args:
        replicate (int): How many copies of the model there are; each is sharded among as many
            processes as the others, neighbors by rank. It divides the number of processes.

    Returns:
        DeviceMesh: ``(shard, )``, or ``(replicate, shard)`` where there are several copies.
    """
    size = get_world_size()
    if replicate == 1:
        return init_device_mesh(get_device(), (size,), mesh_dim_names=('shard',))
    return init_device_mesh(
        get_device(), (replicate, size // replicate), mesh_dim_names=('replicate', 'shard')
    )
