# Short runs on little data: checked after every epoch, the last five checkpoints and the best kept.
finetune_loops = dict(type='EpochBasedTrainLoop', val_interval=1, dynamic_intervals=None)
finetune_hooks = dict(
    checkpoint=dict(
        by_epoch=True, interval=1, max_keep_ckpts=5, save_best='auto', rule='greater'))
# Workers that live longer than an epoch carry random states that no checkpoint holds: a resumed run
# would differ from an uninterrupted one.
finetune_loader = dict(batch_size=2, num_workers=4, persistent_workers=False)
