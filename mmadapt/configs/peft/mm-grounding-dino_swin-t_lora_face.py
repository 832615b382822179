# MM Grounding DINO adapted with LoRA to faces, which it finds by the names of the classes.
# mmadapt train mm-grounding-dino_swin-t_lora_face.py
_base_ = [
    'mmdet::mm_grounding_dino/coco/grounding_dino_swin-t_finetune_16xb4_1x_coco.py',
    '../_base_/peft/lora.py', '../_base_/datasets/face_det.py',
    '../_base_/schedules/adamw_cosine.py', '../_base_/runtime/finetune.py'
]
# Change these here: what follows from them is computed when this file is read.
max_epochs = 12
classes = _base_.face_det_classes
data_root = _base_.face_det_data_root  # ends with a slash
language_model = _base_.lang_model_name  # of Hugging Face, or a folder

load_from = 'https://download.openmmlab.com/mmdetection/v3.0/mm_grounding_dino/grounding_dino_swin-t_pretrain_obj365_goldg_grit9m_v3det/grounding_dino_swin-t_pretrain_obj365_goldg_grit9m_v3det_20231204_095047-b448804b.pth'  # noqa: E501
model = dict(backbone=dict(init_cfg=None), language_model=dict(name=language_model))
# BERT knows these words; what is made of them, text_feat_map and the rest, is adapted.
peft = dict(exclude=['language_model'])

data = dict(data_root=data_root, metainfo=dict(classes=classes), return_classes=True)
train_dataloader = dict(_base_.finetune_loader, dataset=dict(_base_.face_det_train, **data))
val_dataloader = test_dataloader = dict(
    persistent_workers=False, dataset=dict(_base_.face_det_val, **data))
val_evaluator = test_evaluator = dict(ann_file=data_root + _base_.face_det_val.ann_file)
optim_wrapper = dict(_base_.finetune_wrapper, _delete_=True)
auto_scale_lr = dict(base_batch_size=2)
param_scheduler = _base_.finetune_scheduler
train_cfg = dict(_base_.finetune_loops, max_epochs=max_epochs)
default_hooks = _base_.finetune_hooks
custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
custom_hooks = [dict(type='PEFTInjectHook')]
