"""On how many processes a job trains, and how they share its model."""

from mmengine.config import ConfigDict

from .draft import Draft
from .job import Job

_SINGLE = ('machine_rank', 'main_training_function', 'rdzv_backend', 'same_network')
_FSDP = (
    'fsdp_auto_wrap_policy',
    'fsdp_backward_prefetch_policy',
    'fsdp_forward_prefetch',
    'fsdp_cpu_ram_efficient_loading',
    'fsdp_offload_params',
    'fsdp_sharding_strategy',
    'fsdp_state_dict_type',
    'fsdp_sync_module_states',
    'fsdp_use_orig_params',
)
_TPU = ('tpu_env', 'tpu_use_cluster', 'tpu_use_sudo')


def shards(job: Job) -> bool:
    """Return whether a job asks for FSDP."""
    return bool(job.get('FSDP') or str(job.get('distributed_type')).upper() == 'FSDP')


def set_processes(draft: Draft) -> None:
    """cuda_id, DDP, num_nodes, num_processes, num_machines, use_cpu, launcher, and the rest."""
    job = draft.job
    devices = [part for part in str(job.get('cuda_id') or '').split(',') if part.strip()]
    several = job.get('DDP', True) is not False or shards(job)
    counts = dict(cuda_id=len(devices), num_processes=job.get('num_processes'))
    said = {key: count for key, count in counts.items() if count}
    if len(set(said.values())) > 1:
        job.refuse(
            'num_processes',
            f'is {counts["num_processes"]}, and cuda_id names {len(devices)} devices; '
            'leave one of them out',
        )
        return
    draft.processes = next(iter(said.values()), 1) if several else 1
    nodes = {job.get(key) for key in ('num_nodes', 'num_machines')} - {None}
    if len(nodes) > 1:
        job.refuse('num_machines', f'num_nodes is {job.get("num_nodes")}; leave one of them out')
        return
    draft.nodes = nodes.pop() if nodes else 1
    if job.get('use_cpu'):
        draft.environment['CUDA_VISIBLE_DEVICES'] = ''
        job.became('use_cpu', 'CUDA_VISIBLE_DEVICES= hides the GPUs')
    elif 'use_cpu' in job:
        job.became('use_cpu', 'GPUs where there are some')
    if devices:
        if not job.get('use_cpu'):
            draft.environment['CUDA_VISIBLE_DEVICES'] = ','.join(d.strip() for d in devices)
        job.became('cuda_id', f'{draft.processes} process{"es" * (draft.processes > 1)}')
    if 'num_processes' in job:
        job.became('num_processes', f'mmadapt launch {draft.processes}')
    if 'DDP' in job:
        launched = draft.processes * draft.nodes > 1
        job.became('DDP', 'mmadapt launch' if launched else 'one process: mmadapt train')
    _set_nodes(draft)
    _set_launcher(draft)
    _say_the_rest(job)


def _set_nodes(draft: Draft) -> None:
    job = draft.job
    if 'num_nodes' in job or 'num_machines' in job:
        job.became(
            'num_nodes, num_machines',
            'this machine' if draft.nodes == 1 else f'--nodes {draft.nodes}, started on each',
        )
    if draft.nodes > 1:
        rank = job.get('machine_rank')
        draft.launch = ['--nodes', str(draft.nodes), '--node-rank', str(rank)]
        draft.launch += ['--master-addr', 'HOST']
        job.became('machine_rank', f'--node-rank {rank}; each machine has its own')
    elif job.get('machine_rank'):
        job.refuse('machine_rank', 'there is one machine only: num_machines: N')
    elif 'machine_rank' in job:
        job.became('machine_rank', 'this machine')


def _set_launcher(draft: Draft) -> None:
    job = draft.job
    launcher = job.get('launcher')
    if launcher in ('slurm', 'mpi'):
        job.warn(
            'launcher',
            f'the command is started by {launcher}: mmadapt train ... --launcher {launcher}',
        )
    elif launcher:
        job.became('launcher', 'mmadapt launch' if draft.processes > 1 else 'one process')


def _say_the_rest(job: Job) -> None:
    for key in _SINGLE:
        if key in job and key != 'machine_rank':
            job.became(key, 'mmadapt launch has its own way')
    if 'compute_environment' in job:
        if str(job.get('compute_environment')).upper() == 'LOCAL_MACHINE':
            job.became('compute_environment', 'this machine')
        else:
            job.warn('compute_environment', 'machines are started by hand: --nodes')
    if 'distributed_type' in job:
        kind = str(job.get('distributed_type')).upper()
        if kind in ('FSDP', 'MULTI_GPU', 'NO', 'MULTI_CPU', 'FALSE'):
            job.became('distributed_type', 'FSDP2' if kind == 'FSDP' else 'as DDP and FSDP say')
        else:
            job.warn('distributed_type', f'{kind} is none of FSDP, MULTI_GPU, MULTI_CPU, NO')
    if 'debug' in job:
        if job.get('debug'):
            job.warn('debug', 'shapes of collectives: TORCH_DISTRIBUTED_DEBUG=DETAIL does it')
        else:
            job.became('debug', 'off')
    for key in _TPU:
        if job.get(key):
            job.warn(key, 'there are no TPUs in OpenMMLab: it trains on GPUs or CPUs')
        elif key in job:
            job.became(key, 'no TPU')
    if 'downcast_bf16' in job:
        if job.get('downcast_bf16') == 'yes':
            job.warn('downcast_bf16', 'is of TPUs; mixed_precision: bf16 computes in it')
        else:
            job.became('downcast_bf16', 'off')


def set_strategy(draft: Draft) -> str:
    """FSDP and its options.

    Args:
        draft (Draft): The config, which inherits ``strategies/fsdp2.py`` if the job shards.

    Returns:
        str: The mixed precision that the options ask for: ``'no'``, ``'fp16'`` or ``'bf16'``.
    """
    job = draft.job
    if not shards(job):
        if 'FSDP' in job:
            job.became('FSDP', 'off')
        for key in _FSDP:
            if key in job:
                job.warn(key, 'counts with FSDP: True only')
        return job.values.get('mixed_precision', 'no')
    if job.get('DDP'):
        job.refuse('DDP', 'FSDP is True as well; leave one of them out')
    job.became('FSDP', 'strategies/fsdp2.py')
    strategy = ConfigDict(draft.cfg.strategy)
    _set_sharding(job, strategy, draft.processes * draft.nodes)
    _set_wrapping(job, strategy)
    forward, backward = job.get('fsdp_forward_prefetch'), job.get('fsdp_backward_prefetch_policy')
    if forward:
        strategy.prefetch = 1
    if 'fsdp_forward_prefetch' in job:
        job.became('fsdp_forward_prefetch', f'strategy.prefetch = {int(forward)}')
    if 'fsdp_backward_prefetch_policy' in job:
        if backward == 'BACKWARD_PRE':
            job.became('fsdp_backward_prefetch_policy', "FSDP2's own, before the block computes")
        else:
            job.warn('fsdp_backward_prefetch_policy', f'FSDP2 has no {backward}: it gathers before')
    if 'fsdp_offload_params' in job:
        strategy.cpu_offload = job.get('fsdp_offload_params')
        job.became('fsdp_offload_params', f'strategy.cpu_offload = {strategy.cpu_offload}')
    _set_loading(job, strategy)
    draft.cfg.strategy = strategy
    asked = job.get('FP16') or job.get('amp')
    return job.values.get('mixed_precision', 'no' if asked else job.get('mixed_precision'))


def _set_sharding(job: Job, strategy: ConfigDict, processes: int) -> None:
    kind = job.get('fsdp_sharding_strategy')
    if kind == 'NO_SHARD':
        job.refuse('fsdp_sharding_strategy', 'NO_SHARD is DDP: FSDP: False, DDP: True')
        return
    if kind in ('SHARD_GRAD_OP', 'HYBRID_SHARD_ZERO2'):
        strategy.reshard_after_forward = False
    if kind.startswith('HYBRID'):
        nodes = job.get('num_machines') or job.get('num_nodes') or 1
        if nodes == 1:
            job.warn('fsdp_sharding_strategy', f'{kind} on one machine is sharding among all')
            return
        strategy.replicate = nodes
    if 'fsdp_sharding_strategy' in job:
        values = {k: strategy[k] for k in ('reshard_after_forward', 'replicate') if k in strategy}
        job.became('fsdp_sharding_strategy', f'strategy: {values or "the default"}')


def _set_wrapping(job: Job, strategy: ConfigDict) -> None:
    policy = job.get('fsdp_auto_wrap_policy')
    if 'fsdp_auto_wrap_policy' not in job:
        return
    if policy == 'TRANSFORMER_BASED_WRAP':
        job.became('fsdp_auto_wrap_policy', 'the blocks that the model is a repetition of')
    elif policy == 'SIZE_BASED_WRAP':
        job.warn(
            'fsdp_auto_wrap_policy',
            'the blocks that the model is a repetition of, whatever their size: strategy.shard '
            'names others',
        )
    else:
        strategy.shard = []
        job.became('fsdp_auto_wrap_policy', 'strategy.shard = []: the model as one')


def _set_loading(job: Job, strategy: ConfigDict) -> None:
    efficient, sync = (
        job.get(key) for key in ('fsdp_cpu_ram_efficient_loading', 'fsdp_sync_module_states')
    )
    quantized = job.get('load_in_4bit') or job.get('load_in_8bit')
    if efficient and not sync:
        job.refuse(
            'fsdp_sync_module_states',
            'fsdp_cpu_ram_efficient_loading loads in one process, from which the others have to '
            'get theirs: True',
        )
    elif efficient and quantized:
        job.warn('fsdp_cpu_ram_efficient_loading', 'does not go with quantized layers: off')
    else:
        strategy.meta_init = bool(efficient)
        job.became('fsdp_cpu_ram_efficient_loading', f'strategy.meta_init = {bool(efficient)}')
    if 'fsdp_sync_module_states' in job and not (efficient and not sync):
        job.became('fsdp_sync_module_states', 'every process begins with the same weights')
    kind = job.get('fsdp_state_dict_type')
    if 'fsdp_state_dict_type' in job:
        strategy.sharded_checkpoints = kind != 'FULL_STATE_DICT'
        job.became(
            'fsdp_state_dict_type', f'strategy.sharded_checkpoints = {strategy.sharded_checkpoints}'
        )
    if 'fsdp_use_orig_params' in job:
        said = 'parameters keep their names and shapes under FSDP2'
        if job.get('fsdp_use_orig_params'):
            job.became('fsdp_use_orig_params', said)
        else:
            job.warn('fsdp_use_orig_params', f'{said}; there is no other way')
