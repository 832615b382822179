"""What FSDP2Strategy is told, and what it is told in vain."""

from collections.abc import Collection, Mapping

from ...errors import UserError
from ...memory.matching import PATTERNS
from ...values import check_count, check_flag, check_keys, check_list, is_integer

_AUTOCAST = (
    'weights that are cast as they are gathered meet float32 masks and boxes in most '
    "detectors; write optim_wrapper.type='AutocastOptimWrapper', or run with --amp"
)
# Of torch's function, of MMEngine's FSDPStrategy and of its wrapper.
_ELSEWHERE = dict(
    mp_policy=_AUTOCAST,
    mixed_precision=_AUTOCAST,
    param_dtype=_AUTOCAST,
    reduce_dtype=_AUTOCAST,
    activation_checkpointing='write memory=dict(checkpoint=[...]) at the top of the config',
    auto_wrap_policy='write shard=[...], the classes of the blocks',
    model_wrapper='the model is not wrapped but sharded; write shard=[...], the classes of the '
    'blocks',
    find_unused_parameters='every process has to use the same weights in an iteration; train with '
    'mmadapt.DDPStrategy',
    offload_policy='write cpu_offload=True',
    skip_init_weights='write meta_init=True',
    mesh='write replicate=N for N copies, each sharded among the processes of a node',
    state_dict_cfg='write sharded_checkpoints=True for folders, False for ordinary files',
)


def refuse_unknown(unknown: Mapping, known: Collection[str]) -> None:
    """Refuse arguments that the strategy does not have.

    Args:
        unknown (Mapping): What it was given beside those that it has.
        known (Collection[str]): Those of its own that it has.

    Raises:
        UserError: There is one.
    """
    names = sorted([*known, 'sync_bn'])
    check_keys('strategy', unknown, names, _ELSEWHERE, owner=' under FSDP2Strategy')


def check_values(options: Mapping) -> None:
    """Check the types of the strategy's arguments.

    Args:
        options (Mapping): The arguments of the strategy, by name.

    Raises:
        UserError: One has a value that is none of those allowed.
    """
    for name in ('cpu_offload', 'meta_init', 'sharded_checkpoints'):
        check_flag(f'strategy.{name}', options[name])
    if options['shard'] is not None:
        check_list('strategy.shard', options['shard'], (str,), PATTERNS)
    check_count('strategy.prefetch', options['prefetch'], least=0)
    if not isinstance(options['reshard_after_forward'], int):
        raise UserError(
            'strategy.reshard_after_forward must be True, False or a number of '
            f'processes, got {options["reshard_after_forward"]!r}'
        )


def check_groups(options: Mapping, processes: int) -> None:
    """Check into which groups the processes of a run are divided.

    Args:
        options (Mapping): The strategy's arguments, of which ``replicate`` and
            ``reshard_after_forward`` are read.
        processes (int): How many processes there are.

    Raises:
        UserError: They cannot be divided into such groups.
    """
    copies, kept = options['replicate'], options['reshard_after_forward']
    if not is_integer(copies) or copies < 1 or processes % copies:
        near = [n for n in range(1, processes + 1) if processes % n == 0]
        raise UserError(
            f'strategy.replicate={copies!r}: the {processes} processes of this run can '
            f'be divided into {near} groups of one size'
        )
    size = processes // copies
    groups = [n for n in range(2, size) if size % n == 0]
    if not isinstance(kept, bool) and kept not in groups:
        raise UserError(
            f'strategy.reshard_after_forward={kept}: the {size} processes that shard '
            'the model can keep it together in groups of '
            f'{groups or "no other size"}; or write True or False'
        )
