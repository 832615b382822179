# FSDP2: weights, gradients and optimizer state are sharded among the processes; the weights of a
# block are gathered when it computes. Blocks: what the model repeats; strategy.shard names others.
runner_type = 'FlexibleRunner'
strategy = dict(type='FSDP2Strategy')
