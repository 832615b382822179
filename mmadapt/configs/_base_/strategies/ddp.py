# A whole copy of the model in every process, gradients averaged: what the stock runner does.
runner_type = 'FlexibleRunner'
strategy = dict(type='mmadapt.DDPStrategy')
