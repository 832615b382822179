"""What a user may get wrong with the hook, and what it says."""

import shutil

import pytest
import torch
from stock_runs import LORA, write_base

from mmadapt import UserError
from mmadapt.files import read_checkpoint
from mmadapt.hooks import PEFTInjectHook


def _says(error, *words):
    message = str(error.value)
    assert all(word in message for word in words), message


def test_target_that_does_not_exist_names_the_three_nearest(start):
    with pytest.raises(UserError) as error:
        start({**LORA, 'targets': ['backbone.stage9']})
    _says(error, 'backbone.stage9', 'backbone.stage4', 'backbone.stage3', 'backbone.stage2')


@pytest.mark.parametrize(
    ('peft', 'words'),
    [
        (dict(method=dict(type='LoRA', r=0)), ['peft.method.r', 'at least 1', '0']),
        (dict(method=dict(type='LoRa')), ["'LoRa'", "'LoRA'"]),
        (dict(methd=dict(type='LoRA')), ["'methd'", "'method'"]),
        (dict(method=dict(type='LoRA', rank=4)), ["'rank'", 'peft.method.r here']),
    ],
)
def test_wrong_peft_key_is_named_with_the_nearest_right_one(start, peft, words):
    with pytest.raises(UserError) as error:
        start(peft)
    _says(error, *words)


def test_frozen_base_without_weights_is_refused(start):
    with pytest.raises(UserError) as error:
        start(base=None)
    _says(error, 'random', 'set load_from', 'allow_random_base')


def test_random_base_that_was_asked_for_is_in_the_checkpoint(start, tmp_path):
    start({**LORA, 'allow_random_base': True}, base=None)
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    runner = start(mode='test', base=str(checkpoint))
    stored = read_checkpoint(str(checkpoint))['state_dict']
    state = runner.model.state_dict()
    assert all(torch.equal(state[k], v) for k, v in stored.items())
    assert {k for k in state if k.startswith('backbone.stem.0') and 'num_batches' not in k} <= set(
        stored
    )


def test_base_of_another_architecture_is_refused(start, tmp_path):
    torch.save(dict(state_dict={'other.weight': torch.zeros(3)}), tmp_path / 'other.pth')
    with pytest.raises(UserError) as error:
        start(base=str(tmp_path / 'other.pth'))
    _says(error, 'none of its weights')


def test_missing_base_names_what_is_in_its_folder(start, bases):
    with pytest.raises(UserError) as error:
        start(base=str(bases('rtmdet')).replace('rtmdet.pth', 'rtmdt.pth'))
    _says(error, 'not found', 'rtmdet.pth')


def test_resume_with_another_rank_is_refused(start, tmp_path):
    start()
    with pytest.raises(UserError) as error:
        start(dict(method=dict(type='LoRA', r=8, alpha=8)), resume=True, load_from=None)
    _says(error, 'epoch_1.pth', "'r': 4", "'r': 8")


def test_resume_without_a_checkpoint_says_that_load_from_was_cleared(start):
    with pytest.raises(UserError) as error:
        start(resume=True, load_from=None)
    _says(error, '--resume found no checkpoint', 'run without it')


def test_resume_from_a_stock_checkpoint_is_refused(start, bases):
    with pytest.raises(UserError) as error:
        start(resume=True)
    _says(error, 'cannot be resumed', 'load_from')


def test_adapter_of_another_base_is_refused(start, tmp_path):
    start()
    write_base(tmp_path / 'another.pth', 'rtmdet')
    another = torch.load(tmp_path / 'another.pth')
    another['state_dict']['backbone.stem.0.conv.weight'] += 1
    torch.save(another, tmp_path / 'another.pth')
    with pytest.raises(UserError) as error:
        start(
            {**LORA, 'adapter': str(tmp_path / 'run' / 'adapter')},
            mode='test',
            base=str(tmp_path / 'another.pth'),
        )
    _says(error, 'other base weights', 'rtmdet.pth')


def test_truncated_adapter_is_refused(start, tmp_path):
    start()
    weights = tmp_path / 'run' / 'adapter' / 'adapter_model.safetensors'
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(UserError) as error:
        start({**LORA, 'adapter': str(weights.parent)}, mode='test')
    _says(error, 'adapter_model.safetensors', 'half of a file')


def test_base_that_has_moved_can_be_named(start, bases, tmp_path):
    """The checkpoint says where its base was; peft.base says where it is."""
    moved, here = tmp_path / 'moved.pth', tmp_path / 'here.pth'
    shutil.copy(bases('rtmdet'), here)
    start(base=str(here))
    here.rename(moved)
    checkpoint = str(tmp_path / 'run' / 'epoch_1.pth')
    with pytest.raises(UserError) as error:
        start(mode='test', base=checkpoint)
    _says(error, 'here.pth', 'peft.base=FILE')
    start({**LORA, 'base': str(moved)}, mode='test', base=checkpoint)


def test_hook_without_a_peft_key_is_refused(start):
    with pytest.raises(UserError) as error:
        start(peft=None)
    _says(error, 'PEFTInjectHook', 'no `peft`', 'peft=dict(method=...)')


def test_average_made_before_the_adapters_is_refused(start):
    with pytest.raises(UserError) as error:
        start(custom_hooks=[dict(type='EMAHook', priority=5), dict(type='PEFTInjectHook')])
    _says(error, 'EMAHook runs before PEFTInjectHook')


def test_efficient_conv_bn_eval_would_bypass_the_adapters(start):
    with pytest.raises(UserError) as error:
        start(efficient_conv_bn_eval=['backbone'])
    _says(error, 'efficient_conv_bn_eval', 'bypasses')


def test_mixed_precision_and_accumulation_train_on_any_device(start):
    runner = start(
        **{
            'optim_wrapper.type': 'AmpOptimWrapper',
            'optim_wrapper.loss_scale': 'dynamic',
            'optim_wrapper.accumulative_counts': 2,
            'train_dataloader.batch_size': 3,
        }
    )
    assert runner.optim_wrapper.loss_scaler is not None
    moved = [p for n, p in runner.model.named_parameters() if n.endswith('lora_B')]
    assert moved
    assert all(p.abs().sum() > 0 for p in moved)


def test_learning_rate_is_scaled_once(start):
    runner = start(**{'auto_scale_lr.enable': True, 'param_scheduler': None})
    # 12 images a batch over auto_scale_lr.base_batch_size=2, and the rate of the config, 1e-3.
    assert runner.optim_wrapper.param_groups[0]['lr'] == pytest.approx(6e-3)


def test_adapter_to_start_from_is_where_training_begins(start, tmp_path):
    start()
    first = tmp_path / 'first'
    shutil.move(tmp_path / 'run' / 'adapter', first)
    runner = start({**LORA, 'adapter': str(first)}, **{'optim_wrapper.optimizer.lr': 0.0})
    from mmadapt.files import read_adapter

    state = runner.model.state_dict()
    assert all(
        torch.equal(state[k], v) for k, v in read_adapter(str(first))[1].items() if 'lora' in k
    )


def test_runner_that_wraps_before_any_hook_is_refused():
    with pytest.raises(UserError) as error:
        PEFTInjectHook().before_run(object())
    _says(error, "runner_type='FlexibleRunner' or 'Runner'")


def test_validation_alone_takes_a_checkpoint_of_what_was_trained(start, tmp_path):
    trained = start().model.state_dict()
    runner = start(mode='val', base=str(tmp_path / 'run' / 'epoch_1.pth'))
    averaged = read_checkpoint(str(tmp_path / 'run' / 'epoch_1.pth'))['state_dict']
    state = runner.model.state_dict()
    assert set(state) == set(trained)
    assert all(torch.equal(state[k], v) for k, v in averaged.items())


def test_checkpoint_of_another_model_is_refused(start, bases, tmp_path):
    state = read_checkpoint(str(bases('rtmdet')))['state_dict']
    torch.save(
        dict(
            state_dict={
                k: v for k, v in state.items() if 'stage' not in k and not k.startswith('neck')
            }
        ),
        tmp_path / 'other.pth',
    )
    with pytest.raises(UserError) as error:
        start(base=str(tmp_path / 'other.pth'))
    _says(error, 'backbone.stage1', 'checkpoint of another model')


def test_pretrained_file_that_does_not_fit_is_no_base(start, bases, tmp_path):
    """A wrong prefix makes MMEngine warn and leave the backbone as random as it was."""
    wrong = dict(_delete_=True, type='Pretrained', checkpoint=str(bases('rtmdet')), prefix='neck.')
    with pytest.raises(UserError) as error:
        start(base=None, **{'model.backbone.init_cfg': wrong})
    _says(error, 'would be random')


def test_adapter_of_another_scale_to_start_from_is_refused(start, tmp_path):
    start()
    folder = shutil.move(tmp_path / 'run' / 'adapter', tmp_path / 'first')
    with pytest.raises(UserError) as error:
        start(dict(method=dict(type='LoRA', r=4, alpha=16), adapter=str(folder)))
    _says(error, 'alpha=8', 'peft.method.alpha=16')
    with pytest.raises(UserError) as error:
        start({**LORA, 'adapter': str(folder), 'head': 'adapt'})
    _says(error, 'bbox_head', 'keep frozen')


def test_runner_that_has_evaluated_does_not_train(start, tmp_path):
    start()
    runner = start(mode='val', base=str(tmp_path / 'run' / 'epoch_1.pth'))
    with pytest.raises(UserError) as error:
        runner.train()
    _says(error, 'Runner.from_cfg')


def test_resume_without_an_optimizer_is_refused(start, tmp_path):
    start(**{'default_hooks.checkpoint.save_optimizer': False})
    with pytest.raises(UserError) as error:
        start(resume=True, load_from=None)
    _says(error, 'holds no optimizer')


@pytest.mark.parametrize('change', ['half', 'prefix', 'bare'])
def test_base_in_any_of_its_usual_forms_is_found_again(start, bases, tmp_path, change):
    """Half precision, DataParallel's prefix, and a state dict without anything around it."""
    state = read_checkpoint(str(bases('rtmdet')))['state_dict']
    if change == 'half':
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    if change == 'prefix':
        state = {f'module.{k}': v for k, v in state.items()}
    torch.save(state if change == 'bare' else dict(state_dict=state), tmp_path / 'form.pth')
    trained = start(base=str(tmp_path / 'form.pth')).model.state_dict()
    runner = start(mode='test', base=str(tmp_path / 'run' / 'epoch_1.pth'))
    assert all(
        torch.equal(v, trained[k])
        for k, v in runner.model.state_dict().items()
        if k.startswith('backbone') and 'lora' not in k and 'depthwise' not in k
    )
    start(
        {**LORA, 'adapter': str(tmp_path / 'run' / 'adapter')},
        mode='test',
        base=str(tmp_path / 'form.pth'),
    )


@pytest.mark.parametrize('keys', [['meta', 'state_dict'], 'state_dict'])
def test_published_checkpoint_keeps_its_record(start, tmp_path, keys):
    start(**{'default_hooks.checkpoint.published_keys': keys})
    (published,) = (tmp_path / 'run').glob('epoch_1-*.pth')
    runner = start(mode='test', base=str(published))
    assert any('lora_A' in key for key in runner.model.state_dict())
    content = read_checkpoint(str(published))
    del content['mmadapt']
    torch.save(content, tmp_path / 'without.pth')
    with pytest.raises(UserError) as error:
        start(mode='test', base=str(tmp_path / 'without.pth'))
    _says(error, 'holds an adapter but not what its base is')


def test_optimizer_that_makes_its_state_at_once_is_saved(start, tmp_path):
    start(**{'optim_wrapper.optimizer': dict(_delete_=True, type='Adagrad', lr=1e-3)})
    assert (tmp_path / 'run' / 'epoch_1.pth').exists()


def test_statistic_in_a_buffer_of_a_head_of_its_own_is_kept(start, tmp_path):
    """Seesaw and GHM losses count in buffers, which no rule on norm layers knows of."""
    runner = start(custom_hooks=[dict(type='PEFTInjectHook'), dict(type='CountsInBuffer')])
    runner = start(
        mode='test',
        base=str(tmp_path / 'run' / 'epoch_1.pth'),
        custom_hooks=[dict(type='PEFTInjectHook'), dict(type='CountsInBuffer')],
    )
    assert runner.model.backbone.counted.item() == 1


def test_a_base_that_a_training_does_not_read_is_refused(start, bases):
    with pytest.raises(UserError, match=r'peft.base=no/such.pth: .*begins with load_from=.*pth'):
        start({**LORA, 'base': 'no/such.pth'})
    start({**LORA, 'base': str(bases('rtmdet'))})
