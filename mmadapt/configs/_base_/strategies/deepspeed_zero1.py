# DeepSpeed, ZeRO-1: each process keeps its part of the optimizer's state. In bfloat16 autocast, so
# that a detector also wants memory = dict(fp32_modules='auto'). Needs the extra `deepspeed`.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='mmadapt.DeepSpeedStrategy',
    torch_autocast=dict(enabled=True, dtype='bfloat16'),  # enabled=False: float32
    # Elements; of the gradients that are averaged at once a copy is kept.
    zero_optimization=dict(
        stage=1, reduce_bucket_size=50_000_000, allgather_bucket_size=50_000_000))
