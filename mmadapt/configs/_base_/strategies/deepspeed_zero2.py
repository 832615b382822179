# DeepSpeed, ZeRO-2: each process keeps its part of the optimizer's state, and the gradients of the
# parameters that it has a part of: of nearly all where paramwise_cfg makes each one a group. In
# bfloat16 autocast, so that a detector also wants memory = dict(fp32_modules='auto'). Needs
# the extra `deepspeed`.
# With optim_wrapper.accumulative_counts checkpoints have to be at multiples of it.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='mmadapt.DeepSpeedStrategy',
    torch_autocast=dict(enabled=True, dtype='bfloat16'),  # enabled=False: float32
    # Elements; of the gradients that are averaged at once a copy is kept. The optimizer's state
    # waits in the memory of the CPU with offload_optimizer=dict(device='cpu').
    zero_optimization=dict(
        stage=2, reduce_bucket_size=50_000_000, allgather_bucket_size=50_000_000))
