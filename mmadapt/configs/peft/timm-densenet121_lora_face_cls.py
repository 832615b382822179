# A model of timm, DenseNet-121, adapted to folders of faces with LoRA.
# mmadapt train timm-densenet121_lora_face_cls.py
_base_ = [
    'mmpretrain::densenet/densenet121_4xb256_in1k.py',
    '../_base_/peft/lora.py', '../_base_/datasets/face_cls.py',
    '../_base_/schedules/sgd_cosine.py', '../_base_/runtime/finetune.py'
]
# Change these here: what follows from them is computed when this file is read.
max_epochs = 20
classes = _base_.face_cls_classes  # the names of the folders, sorted
data_root = _base_.face_cls_data_root  # ends with a slash

# timm fetches its weights from the Hugging Face hub. Where that cannot be reached, those of a file:
# --cfg-options model.backbone.pretrained_cfg_overlay.file=model.safetensors
backbone = dict(_delete_=True, type='TIMMBackbone', model_name='densenet121', pretrained=True)
data_preprocessor = dict(num_classes=len(classes))
model = dict(backbone=backbone, head=dict(num_classes=len(classes), topk=(1, )))

# The stock data set is ImageNet, which takes other arguments.
data = dict(_delete_=True, data_root=data_root, metainfo=dict(classes=classes))
train = dict(_base_.face_cls_train, pipeline=_base_.train_pipeline, **data)
val = dict(_base_.face_cls_val, pipeline=_base_.test_pipeline, **data)
train_dataloader = dict(_base_.finetune_loader, batch_size=32, dataset=train)
val_dataloader = test_dataloader = dict(dataset=val)
val_evaluator = test_evaluator = _base_.face_cls_val_evaluator
optim_wrapper = dict(_base_.finetune_wrapper, _delete_=True)
auto_scale_lr = dict(base_batch_size=32)
param_scheduler = _base_.finetune_scheduler
train_cfg = dict(_base_.finetune_loops, _delete_=True, max_epochs=max_epochs)
default_hooks = _base_.finetune_hooks
custom_imports = dict(imports=['mmadapt'], allow_failed_imports=False)
custom_hooks = [*_base_.get('custom_hooks', []), dict(type='PEFTInjectHook')]
