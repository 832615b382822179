# DeepSpeed, ZeRO-3: each process keeps its part of parameters, gradients and optimizer state.
# Slower than ZeRO-2, and seldom worth it for a detector: activations fill the card. In bfloat16
# autocast, so that a detector also wants memory = dict(fp32_modules='auto'). Without EMAHook and
# peft.quant. Needs the extra `deepspeed`.
# With optim_wrapper.accumulative_counts checkpoints have to be at multiples of it.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='mmadapt.DeepSpeedStrategy',
    torch_autocast=dict(enabled=True, dtype='bfloat16'),  # enabled=False: float32
    # Elements; of the gradients that are averaged at once a copy is kept. Parameters wait in the
    # memory of the CPU with offload_param=dict(device='cpu').
    zero_optimization=dict(
        stage=3, reduce_bucket_size=50_000_000, stage3_prefetch_bucket_size=10_000_000,
        stage3_param_persistence_threshold=100_000))
