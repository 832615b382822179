"""What each key of a job becomes, on the config that is written."""

import pytest
from job_lines import said_of
from mmengine.config import Config

from mmadapt.errors import UserError

FSDP = dict(FSDP=True, DDP=..., num_processes=2, mixed_precision='no')


def at(cfg: Config, place: str):
    """Return the value at a place such as ``train_cfg.max_epochs``."""
    for key in place.split('.'):
        cfg = cfg[int(key)] if key.isdigit() else cfg[key]
    return cfg


@pytest.mark.parametrize(
    ('changes', 'wanted'),
    [
        (dict(SEED=56), {'randomness.seed': 56}),
        (dict(EPOCHS=3), {'train_cfg.max_epochs': 3, 'train_cfg.val_interval': 1}),
        (dict(EPOCHS=...), {'train_cfg.max_epochs': 2}),
        (dict(BATCH_SIZE=...), {'train_dataloader.batch_size': 16}),
        (
            dict(NUM_WORKERS=0),
            {
                'train_dataloader.num_workers': 0,
                'train_dataloader.persistent_workers': False,
                'val_dataloader.num_workers': 0,
                'val_dataloader.persistent_workers': False,
            },
        ),
        (
            dict(OPTIMIZER='SGD', LR=5e-3, WEIGHT_DECAY=0.0),
            {'optim_wrapper.optimizer': dict(type='SGD', lr=5e-3, weight_decay=0.0, momentum=0.9)},
        ),
        (
            dict(OPTIMIZER='adamw_torch', BETA1=0.8, ADAM_EPS=1e-6),
            {
                'optim_wrapper.optimizer': dict(
                    type='AdamW', lr=1e-4, weight_decay=0.0, betas=(0.8, 0.999), eps=1e-6
                )
            },
        ),
        (dict(OPTIMIZER='Adadelta'), {'optim_wrapper.optimizer.type': 'Adadelta'}),
        (dict(GRADIENT_ACCUMULATION_STEPS=4), {'optim_wrapper.accumulative_counts': 4}),
        (
            dict(INTERVAL='steps', INTERVAL_STEPS=4, NO_OF_CHECKPOINTS=5, checkpoint_interval=7),
            {
                'default_hooks.checkpoint.by_epoch': False,
                'default_hooks.checkpoint.interval': 4,
                'default_hooks.checkpoint.max_keep_ckpts': 5,
                'default_hooks.checkpoint.save_best': 'coco/bbox_mAP',
                'train_cfg.val_interval': 1,
            },
        ),
        (
            dict(INTERVAL='epoch', checkpoint_interval=7),
            {'default_hooks.checkpoint.by_epoch': True, 'default_hooks.checkpoint.interval': 1},
        ),
        (
            dict(checkpoint_interval=7),
            {'default_hooks.checkpoint.by_epoch': True, 'default_hooks.checkpoint.interval': 7},
        ),
        (
            dict(FP16=True),
            {
                'optim_wrapper.type': 'AutocastOptimWrapper',
                'optim_wrapper.dtype': 'float16',
                'optim_wrapper.loss_scale': 'dynamic',
                'memory.fp32_modules': 'auto',
            },
        ),
        (dict(amp=True), {'optim_wrapper.dtype': 'float16'}),
        (
            dict(GRADIENT_CHECKPOINTING=True, MODEL_PATH='faster-rcnn_r50_fpn_1x_coco'),
            {'memory.checkpoint': ['Bottleneck']},
        ),
        (dict(resume='auto'), {'resume': True}),
        (dict(RESUME_FROM_CHECKPOINT=True), {'resume': True}),
        (
            dict(RESUME_FROM_CHECKPOINT='https://a/epoch_1.pth'),
            {'resume': True, 'load_from': 'https://a/epoch_1.pth'},
        ),
        (dict(auto_scale_lr=True), {'auto_scale_lr.enable': True}),
        (
            dict(cfg_options={'model.backbone.frozen_stages': 1}),
            {'model.backbone.frozen_stages': 1},
        ),
        (dict(OUTPUT_DIR='out/a', work_dir='out/b'), {'work_dir': 'out/a'}),
        (dict(work_dir='out/b'), {'work_dir': 'out/b'}),
        (
            dict(LOGGING_PATH='logs/x'),
            {'custom_hooks.3': dict(type='LogFileHook', path='logs/x/log.log')},
        ),
        (dict(DO_EVAL=False), {'val_cfg': None, 'val_dataloader': None, 'val_evaluator': None}),
        # What is adapted.
        (
            {},
            {
                'peft.method': dict(type='LoRA', r=32, alpha=16, dropout=0.1),
                'peft.targets': 'auto',
                'peft.head': 'train',
                'peft.export': None,
                'model.bbox_head.num_classes': 2,
            },
        ),
        (
            dict(r=..., alpha=..., dropout=...),
            {'peft.method': dict(type='LoRA', r=8, alpha=16, dropout=0.1)},
        ),
        (
            dict(PEFT_METHOD='DoRA', r=..., alpha=..., dropout=0),
            {'peft.method': dict(type='DoRA', r=16, alpha=8, dropout=0.0)},
        ),
        (dict(PEFT_METHOD='SSF', r=..., alpha=..., dropout=...), {'peft.method.type': 'SSF'}),
        (dict(PEFT_METHOD=..., method='LoRA'), {'peft.method.type': 'LoRA'}),
        (dict(LAST_LAYER_TUNING=False), {'peft.head': 'adapt'}),
        (dict(init_lora_weights='pissa', dropout=0), {'peft.method.init': 'pissa'}),
        (
            dict(auto_select_modules=..., target_modules='backbone, neck'),
            {'peft.targets': ['backbone', 'neck']},
        ),
        (dict(MERGE_ADAPTER=True), {'peft.export': 'state_dict'}),
        (dict(SAVE_METHOD='safetensors'), {'peft.export': 'safetensors'}),
        (dict(MERGE_ADAPTER=False, SAVE_METHOD='state_dict'), {'peft.export': None}),
        (
            dict(PEFT_METHOD=..., LAST_LAYER_TUNING=False, FULL_FINE_TUNING=True),
            {'peft.method': None, 'peft.targets': 'all', 'peft.norm': 'train'},
        ),
        (dict(PEFT_METHOD=...), {'peft.method': None, 'peft.head': 'train'}),
        (
            dict(load_in_4bit=True, bnb_4bit_use_double_quant=True, llm_int8_skip_modules=['neck']),
            {
                'peft.quant': dict(
                    bits=4, type='nf4', compute_dtype='float16', double_quant=True, skip=['neck']
                )
            },
        ),
        (
            dict(load_in_8bit=True, llm_int8_threshold=5),
            {'peft.quant': dict(bits=8, threshold=5.0, has_fp16_weights=False)},
        ),
        # The rate.
        (
            dict(SCHEDULER_TYPE='CosineAnnealingLR', EPOCHS=4),
            {
                'param_scheduler.0': dict(
                    type='CosineAnnealingLR',
                    begin=0,
                    end=4,
                    by_epoch=True,
                    convert_to_iter_based=True,
                    T_max=4,
                    eta_min=0.0,
                )
            },
        ),
        (
            dict(SCHEDULER_TYPE='cosineannealinglr', EPOCHS=4, BEGIN=1, END=3, T_MAX=9),
            {'param_scheduler.0.begin': 1, 'param_scheduler.0.T_max': 2},
        ),
        (
            dict(SCHEDULER_TYPE='LinearLR', EPOCHS=4, END=50),
            {
                'param_scheduler.0.start_factor': 1.0,
                'param_scheduler.0.end_factor': 0.0,
                'param_scheduler.0.end': 4,
            },
        ),
        (
            dict(SCHEDULER_TYPE='MultiStepLR', EPOCHS=10, END=50, MILESTONES=[30, 40], GAMMA=0.5),
            {'param_scheduler.0.milestones': [6, 8], 'param_scheduler.0.gamma': 0.5},
        ),
        (
            dict(SCHEDULER_TYPE='MultiStepLR', EPOCHS=12, MILESTONES=[8, 11]),
            {'param_scheduler.0.milestones': [8, 11]},
        ),
        (
            dict(SCHEDULER_TYPE='MultiStepLR', EPOCHS=12, BEGIN=2, MILESTONES=[4, 8]),
            {'param_scheduler.0.begin': 2, 'param_scheduler.0.milestones': [2, 6]},
        ),
        (
            dict(SCHEDULER_TYPE='reduce_lr_on_plateau', lr_scheduler_kwargs=dict(min_lr=1e-6)),
            {'param_scheduler.0.min_value': 1e-6},
        ),
        (
            dict(MODEL_PATH='retinanet_r50_fpn_amp-1x_coco', FP16=False),
            {'optim_wrapper.type': 'OptimWrapper'},
        ),
        (
            dict(
                auto_scale_lr=True,
                MODEL_PATH='faster-rcnn_r50_fpn_1x_coco',
                cfg_options={'auto_scale_lr.base_batch_size': 32},
            ),
            {'auto_scale_lr.enable': True, 'auto_scale_lr.base_batch_size': 32},
        ),
        (dict(OPTIMIZER='Adamax', BETA1=0.8), {'optim_wrapper.optimizer.betas': (0.8, 0.999)}),
        (
            dict(MODEL_PATH='cityscapes/faster-rcnn_r50_fpn_1x_cityscapes'),
            {'train_dataloader.dataset.type': 'CocoDataset'},
        ),
        (
            dict(SCHEDULER_TYPE='LinearLR', WARMUP=True, WARMUP_RATIO=0.2, WARMUP_ITERS=7),
            {
                'param_scheduler.0': dict(
                    type='LinearLR', start_factor=0.2, begin=0, end=7, by_epoch=False
                ),
                'param_scheduler.1.type': 'LinearLR',
            },
        ),
        ({}, {'param_scheduler': [dict(type='NamedLR', schedule='linear', by_epoch=False)]}),
        (
            dict(
                SCHEDULER_TYPE='polynomial',
                WARMUP=True,
                WARMUP_ITERS=7,
                lr_scheduler_kwargs=dict(power=2),
            ),
            {
                'param_scheduler': [
                    dict(
                        type='NamedLR',
                        schedule='polynomial',
                        by_epoch=False,
                        num_warmup_steps=7,
                        options=dict(power=2),
                    )
                ]
            },
        ),
        (
            dict(SCHEDULER_TYPE='reduce_lr_on_plateau'),
            {
                'param_scheduler': [
                    dict(
                        type='ReduceOnPlateauLR',
                        monitor='coco/bbox_mAP',
                        rule='greater',
                        by_epoch=True,
                        factor=0.1,
                        patience=10,
                    )
                ]
            },
        ),
        # Processes.
        (FSDP, {'runner_type': 'FlexibleRunner', 'strategy.type': 'FSDP2Strategy'}),
        (
            dict(FSDP, fsdp_sharding_strategy='SHARD_GRAD_OP', fsdp_offload_params=True),
            {'strategy.reshard_after_forward': False, 'strategy.cpu_offload': True},
        ),
        (
            dict(FSDP, fsdp_sharding_strategy='HYBRID_SHARD', num_machines=2),
            {'strategy.replicate': 2},
        ),
        (
            dict(FSDP, fsdp_forward_prefetch=True, fsdp_state_dict_type='FULL_STATE_DICT'),
            {'strategy.prefetch': 1, 'strategy.sharded_checkpoints': False},
        ),
        (dict(FSDP, fsdp_cpu_ram_efficient_loading=False), {'strategy.meta_init': False}),
        (dict(FSDP, mixed_precision='bf16'), {'optim_wrapper.dtype': 'bfloat16'}),
        (dict(FSDP, mixed_precision=...), {'optim_wrapper.dtype': 'bfloat16'}),
        (dict(FSDP, mixed_precision=..., FP16=True), {'optim_wrapper.dtype': 'float16'}),
    ],
)
def test_a_key_does_what_it_says(converted, changes, wanted):
    cfg, job = converted(**changes)
    for place, value in wanted.items():
        assert at(cfg, place) == value, place
    assert not job.unsaid
    assert {*job.values} == {line.key for line in job.lines} & {*job.values}


@pytest.mark.parametrize(
    ('changes', 'key', 'said'),
    [
        (dict(FULL_FINE_TUNING=True), 'FULL_FINE_TUNING', 'leave one of them out'),
        (dict(PEFT_METHOD=..., LAST_LAYER_TUNING=False), 'PEFT_METHOD', 'nothing would train'),
        (dict(load_in_4bit=True, load_in_8bit=True), 'load_in_8bit', 'leave one of them out'),
        (dict(PEFT_METHOD=..., load_in_4bit=True), 'load_in_4bit', 'stays frozen'),
        (dict(SAVE_METHOD='save_pretrained'), 'SAVE_METHOD', 'Hugging Face models'),
        (dict(init_lora_weights=False), 'init_lora_weights', 'True, gaussian'),
        (dict(peft_type='IA3'), 'peft_type', 'PEFT_METHOD LoRA'),
        (dict(OPTIMIZER='adamww'), 'OPTIMIZER', "nearest: 'adamw'"),
        (dict(OPTIMIZER='LBFGS'), 'OPTIMIZER', 'takes no weight_decay'),
        (
            dict(SCHEDULER_TYPE='MultiStepLR', EPOCHS=12, END=8, MILESTONES=[8, 11]),
            'MILESTONES',
            'not between BEGIN 0 and END 8',
        ),
        (dict(FP16=True, mixed_precision='no'), 'FP16', 'mixed_precision says no'),
        (
            dict(RESUME_FROM_CHECKPOINT='https://a/b.pth', resume='https://a/c.pth'),
            'resume',
            'names another file',
        ),
        (dict(SCHEDULER_TYPE='cosin'), 'SCHEDULER_TYPE', "nearest: 'cosine'"),
        (dict(SCHEDULER_TYPE='cosine_with_min_lr'), 'SCHEDULER_TYPE', 'min_lr=1e-6'),
        (dict(SCHEDULER_TYPE='MultiStepLR'), 'MILESTONES', 'such as [8, 11]'),
        (dict(SCHEDULER_TYPE='MultiStepLR', MILESTONES=[8]), 'MILESTONES', 'beyond the one epoch'),
        (dict(SCHEDULER_TYPE='LinearLR', BEGIN=1), 'BEGIN', 'not before the end'),
        (
            dict(SCHEDULER_TYPE='reduce_lr_on_plateau', DO_EVAL=False),
            'SCHEDULER_TYPE',
            'needs validation',
        ),
        (dict(DO_TRAIN=False, DO_EVAL=False), 'DO_TRAIN', 'nothing is left to do'),
        (dict(cuda_id='0,1', num_processes=3), 'num_processes', 'names 2 devices'),
        (dict(num_nodes=2, num_machines=3), 'num_machines', 'leave one of them out'),
        (dict(FSDP=True, DDP=True), 'DDP', 'leave one of them out'),
        (dict(FSDP, fsdp_sharding_strategy='NO_SHARD'), 'fsdp_sharding_strategy', 'is DDP'),
        (
            dict(FSDP, fsdp_sync_module_states=False),
            'fsdp_sync_module_states',
            'from which the others',
        ),
        (dict(FP16=True, mixed_precision='bf16'), 'FP16', 'leave one of them out'),
        (dict(machine_rank=1), 'machine_rank', 'one machine only'),
        (dict(cfg_options={'max_epochs': 3}), 'cfg_options', 'train_cfg.max_epochs'),
        (dict(cfg_options=dict(model_nam=1)), 'cfg_options', 'nearest: model'),
    ],
)
def test_what_cannot_be_is_an_error_and_nothing_is_converted(job, tmp_path, changes, key, said):
    from mmadapt.jobs import convert_job

    made = job(**changes)
    assert convert_job(made, tmp_path / 'my.py', ['mmadapt', 'convert']) is None
    errors = [line.said for line in made.errors if line.key == key]
    assert any(said in text for text in errors), made.errors


@pytest.mark.parametrize(
    ('changes', 'key', 'said'),
    [
        (dict(T_MAX=3, SCHEDULER_TYPE='LinearLR'), 'T_MAX', 'is of CosineAnnealingLR'),
        (dict(END=50), 'END', 'from the first iteration to the last'),
        (dict(OPTIMIZER='sgd', BETA1=0.9), 'BETA1', 'SGD has no such argument'),
        (dict(fan_in_fan_out=True), 'fan_in_fan_out', 'known by its type'),
        (dict(target_modules=['neck']), 'target_modules', 'auto_select_modules chooses'),
        (dict(WARMUP_ITERS=9), 'WARMUP_ITERS', 'WARMUP: True only'),
        (dict(bnb_4bit_quant_type='fp4'), 'bnb_4bit_quant_type', 'load_in_4bit: True only'),
        (
            dict(load_in_8bit=True, llm_int8_enable_fp32_cpu_offload=True),
            'llm_int8_enable_fp32_cpu_offload',
            'fsdp_offload_params',
        ),
        (dict(fsdp_offload_params=True), 'fsdp_offload_params', 'FSDP: True only'),
        (dict(tpu_use_cluster=True), 'tpu_use_cluster', 'no TPUs'),
        (dict(downcast_bf16='yes'), 'downcast_bf16', 'mixed_precision: bf16'),
        (dict(max_seq_length=512), 'max_seq_length', 'is of text tasks'),
        (dict(palette=[[1, 2, 3]]), 'palette', 'semantic segmentation'),
        (dict(class_list=['cat']), 'class_list', 'cat, dog, which counts'),
        (dict(launcher='slurm'), 'launcher', '--launcher slurm'),
        (dict(image_processor_path='some/where'), 'image_processor_path', 'stock config'),
    ],
)
def test_what_cannot_apply_is_said(converted, changes, key, said):
    _, job = converted(**changes)
    assert [level for level, text in said_of(job, key) if said in text] == ['warning']


def test_an_option_that_another_key_sets_wins_and_is_said(converted):
    cfg, job = converted(EPOCHS=2, cfg_options={'train_cfg.max_epochs': 9})
    assert cfg.train_cfg.max_epochs == 9
    said = [text for level, text in said_of(job, 'cfg_options') if level == 'warning']
    assert said == ['train_cfg.max_epochs = 9, where another key of the job says 2']


def test_imports_of_a_config_of_ones_own_stay(converted, tmp_path):
    own = tmp_path / 'own.py'
    own.write_text(
        "_base_ = ['mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py']\nload_from = 'own.pth'\n"
        "custom_imports = dict(imports=['json'], allow_failed_imports=False)\n"
    )
    cfg, job = converted(MODEL_PATH=str(own))
    assert cfg.custom_imports.imports == ['json', 'mmadapt']
    assert cfg.load_from == 'own.pth'
    assert [level for level, _ in said_of(job, 'LOCAL_MODEL_PATH')] == ['became']


def test_epochs_beyond_the_run_are_brought_to_it_and_reported(converted):
    _, job = converted(SCHEDULER_TYPE='CosineAnnealingLR', END=50)
    assert ('became', 'END 50 -> 1, the end of the run') in said_of(job, 'END')


def test_they_may_stay(converted):
    cfg, _ = converted(keep_schedule=True, SCHEDULER_TYPE='CosineAnnealingLR', END=50, T_MAX=40)
    assert (cfg.param_scheduler[0].end, cfg.param_scheduler[0].T_max) == (50, 40)


def test_what_the_stock_config_says_for_its_own_length_keeps_its_share(converted):
    cfg, job = converted(EPOCHS=30)
    assert cfg.custom_hooks[1].switch_epoch == 28  # 280 of 300
    assert 'PipelineSwitchHook.switch_epoch 280 -> 28' in said_of(job, 'EPOCHS')[0][1]
    assert 'dynamic_intervals' not in cfg.train_cfg


def test_a_run_of_iterations_becomes_one_of_epochs(converted):
    cfg, _ = converted(MODEL_PATH='faster-rcnn_r50-caffe_fpn_ms-90k_coco', EPOCHS=3)
    assert cfg.train_cfg == dict(type='EpochBasedTrainLoop', max_epochs=3, val_interval=1)
    assert cfg.train_dataloader.sampler.type == 'DefaultSampler'
    assert cfg.log_processor.by_epoch
    assert cfg.default_hooks.checkpoint.by_epoch


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        (dict(TASK=...), 'TASK is missing'),
        (dict(TASK='object_detect'), 'did you mean object_detection?'),
        (dict(TASK='text_generation'), 'is not converted'),
        (dict(MODEL_PATH='rtmdet_tiny_8xb32-300e_coc'), 'nearest: rtmdet_tiny_8xb32-300e_coco'),
        (dict(MODEL_PATH=..., MODEL=...), 'MODEL_PATH is missing'),
        (dict(CUSTOM_DATASET_PATH=...), 'CUSTOM_DATASET_PATH is missing'),
        (dict(train_ann_file='annotations.coco.json'), 'did you mean annotations_coco.json?'),
        (dict(LOCAL_MODEL_PATH='nowhere.pth'), 'there is no such file'),
        (dict(MODEL_PATH='mask-rcnn_r50_fpn_1x_coco'), 'TASK: instance_segmentation'),
        (dict(MODEL_PATH='rtmdet-ins_tiny_8xb32-300e_coco'), 'learns from masks'),
        (dict(MODEL_PATH='mask2former_r50_8xb2-lsj-50e_coco-panoptic'), 'learns from label maps'),
        (
            dict(MODEL_PATH='soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco'),
            'has 2 data sets',
        ),
        (dict(MODEL_PATH='foo.bar::x'), "'foo.bar' is none of"),
        (dict(TRAIN_DIR='trian/'), "nearest: 'train'"),
        (dict(TRAIN_DIR='/elsewhere'), 'is not below CUSTOM_DATASET_PATH'),
        (dict(RESUME_FROM_CHECKPOINT='nowhere.pth'), 'there is no such file'),
        (dict(TASK='instance_segmentation'), 'boxes without a mask'),
    ],
)
def test_what_a_config_begins_with_is_missed_in_one_line(converted, changes, said):
    with pytest.raises(UserError) as error:
        converted(**changes)
    assert said in str(error.value)
    assert '\n' not in str(error.value)
