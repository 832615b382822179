# AdamW, for transformers, whose rate falls along a cosine to 0 at the very last iteration.
# The cosine has no `end` or `T_max`: MMEngine then takes the length of the run, whatever it is,
# with --cfg-options train_cfg.max_epochs=N too. A stock config's warm-up and milestones are COCO's:
# param_scheduler = _base_.finetune_scheduler takes their place, and
# optim_wrapper = dict(_base_.finetune_wrapper, _delete_=True) that of its rates for single layers.
finetune_optimizer = dict(type='AdamW', lr=2e-4, betas=(0.9, 0.999), weight_decay=0.)
finetune_wrapper = dict(
    type='OptimWrapper', optimizer=finetune_optimizer, clip_grad=dict(max_norm=0.1, norm_type=2))
finetune_scheduler = [dict(type='CosineAnnealingLR', eta_min=0., by_epoch=False)]
