# SegNeXt (MSCAN-T) adapted to parts of faces with LoRA; its depthwise convolutions train.
# mmadapt train segnext_mscan-t_lora_face_seg.py
_base_ = [
    'mmseg::segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512.py',
    '../_base_/peft/lora.py', '../_base_/datasets/face_seg.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/runtime/finetune.py'
]
# Change these here: what follows from them is computed when this file is read.
max_epochs = 40
classes = _base_.face_seg_classes
data_root = _base_.face_seg_data_root  # ends with a slash

load_from = 'https://download.openmmlab.com/mmsegmentation/v0.5/segnext/segnext_mscan-t_1x16_512x512_adamw_160k_ade20k/segnext_mscan-t_1x16_512x512_adamw_160k_ade20k_20230210_140244-05bd8466.pth'  # noqa: E501
model = dict(backbone=dict(init_cfg=None), decode_head=dict(num_classes=len(classes)))

# The stock steps take one off every label, as ADE20K's 0 is no class: here labels stay as they are.
labels = dict(type='LoadAnnotations')
train_pipeline = [labels if s['type'] == labels['type'] else s for s in _base_.train_pipeline]
test_pipeline = [labels if s['type'] == labels['type'] else s for s in _base_.test_pipeline]
data = dict(data_root=data_root, metainfo=dict(classes=classes))
train = dict(_base_.face_seg_train, pipeline=train_pipeline, **data)
val = dict(_base_.face_seg_val, pipeline=test_pipeline, **data)
# The stock sampler has no end, as the stock schedule counts iterations.
loader = dict(_base_.finetune_loader, batch_size=16, sampler=dict(type='DefaultSampler'))
train_dataloader = dict(loader, dataset=train)
val_dataloader = test_dataloader = dict(dataset=val)
optim_wrapper = dict(_base_.finetune_wrapper, _delete_=True)
auto_scale_lr = dict(base_batch_size=16)
param_scheduler = _base_.finetune_scheduler
train_cfg = dict(_base_.finetune_loops, _delete_=True, max_epochs=max_epochs)
log_processor = dict(by_epoch=True)
best = dict(_base_.finetune_hooks['checkpoint'], save_best='mIoU')
default_hooks = dict(checkpoint=best, logger=dict(log_metric_by_epoch=True))
custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
custom_hooks = [*_base_.get('custom_hooks', []), dict(type='PEFTInjectHook')]
