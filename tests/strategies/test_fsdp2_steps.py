"""A model sharded among four processes in every way trains what one process trains."""

import shutil

import pytest
import sharded_steps
import torch
from sharded_steps import PROCESSES, STEPS, WAYS, batch, build, optimize
from together import run_together

from mmadapt import UserError
from mmadapt.files import read_checkpoint
from mmadapt.strategies.fsdp2.meta import without_values

ALL = list(range(PROCESSES))


@pytest.fixture(scope='module')
def truth(tmp_path_factory):
    """What one process finds that sees all batches, and after two steps of three."""
    folder = tmp_path_factory.mktemp('steps')
    model = build()
    wrapper = optimize(model)
    for step in range(2 * STEPS):
        if step == 2 * (STEPS - 1):
            torch.save(
                dict(state=model.state_dict(), optimizer=wrapper.state_dict()),
                folder / 'after_two.pth',
            )
        model.train_step(dict(x=batch(step, ALL)), wrapper)
    norms = [float(v) for v in wrapper.message_hub.get_scalar('train/grad_norm').data[0]]
    return folder, model, wrapper, norms


@pytest.fixture(scope='module')
def found(truth):
    folder = truth[0]
    run_together(sharded_steps.run, PROCESSES, str(folder))
    return {
        (way, rank): torch.load(folder / f'{way}_{rank}.pth', weights_only=False)
        for way in (*WAYS, 'meta')
        for rank in ALL
    }


def close(found, wanted, atol=1e-6):
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value.detach(), rtol=0, atol=atol, msg=key)


@pytest.mark.parametrize('way', WAYS)
def test_it_trains_what_one_process_trains(way, truth, found):
    _, model, wrapper, norms = truth
    assert min(norms) > 0.1, 'they are to be clipped'
    close(found[way, 0]['state'], model.state_dict())
    for rank in ALL:
        assert found[way, rank]['norms'] == pytest.approx(norms, rel=1e-5)
    ours, wanted = found[way, 0]['optimizer'], wrapper.state_dict()
    assert ours['param_groups'] == wanted['param_groups']
    for number, state in wanted['state'].items():
        close(ours['state'][number], state)


@pytest.mark.parametrize('way', WAYS)
def test_weights_are_sharded_even_where_there_are_fewer_rows_than_processes(way, found):
    copies = 2 if way == 'copies' else 1
    for name, size in (
        ('head.weight', 12),
        ('blocks.1.shift', 1),
        ('blocks.2.scale', 1),
        ('blocks.0.frozen.weight', 36),
    ):
        parts = [found[way, rank]['parts'][name] for rank in ALL]
        assert sum(parts) == copies * size
        assert max(parts) < size or size == 1
    assert not any('codes' in name for name in found[way, 0]['parts'])
    assert set(found[way, 0]['scalars']) == {
        'temperature',
        *(f'blocks.{i}.scale' for i in range(3)),
    }


@pytest.mark.parametrize('way', WAYS)
def test_evaluation_leaves_no_weights_gathered(way, found):
    assert all(found[way, rank]['sharded_after_evaluation'] for rank in ALL)


@pytest.mark.parametrize('way', WAYS)
def test_what_evaluation_did_not_use_is_not_computed_with_later_on(way, truth, found):
    model = build()
    model.load_state_dict(truth[1].state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.mul_(0.5)
    for rank in ALL:
        assert found[way, rank]['after_change'] == pytest.approx(
            model(batch(0, [rank]))['loss'].item(), rel=1e-5
        )


@pytest.mark.parametrize('way', WAYS)
def test_accumulated_gradients_are_each_process_s_own(way, truth, found):
    model = build()
    model.load_state_dict(truth[1].state_dict())
    for rank in ALL:
        model.zero_grad()
        (model(batch(0, [rank]))['loss'] / 2).backward()
        wanted = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
        waiting = {n: g.view(wanted[n].shape) for n, g in found[way, rank]['waiting'].items()}
        close(waiting, wanted)


@pytest.mark.parametrize('way', ['plain', 'copies'])
def test_it_goes_on_from_the_state_of_one_process(way, truth, found):
    close(found[way, 0]['gone_on'], truth[1].state_dict())


@pytest.mark.parametrize('way', WAYS)
def test_a_folder_of_four_processes_is_read_by_one(way, truth, found):
    folder, model, wrapper, _ = truth
    path = folder / f'{way}_folder'
    checkpoint = read_checkpoint(str(path))
    close(checkpoint['state_dict'], model.state_dict())
    assert checkpoint['meta'] == dict(way=way)
    for number, state in wrapper.state_dict()['state'].items():
        close(checkpoint['optimizer']['state'][number], state)
    # Nothing that is read by running it, and nothing half-written.
    assert {file.suffix for file in path.iterdir()} == {'.safetensors', '.pth'}
    assert len([*path.glob('*.safetensors')]) == (PROCESSES if way != 'copies' else 4)
    assert not [*folder.glob('.*')]


def test_a_folder_that_lacks_a_piece_is_refused(truth, found, tmp_path):
    shutil.copytree(truth[0] / 'plain_folder', tmp_path / 'folder')
    next((tmp_path / 'folder').glob('*00002*')).unlink()
    with pytest.raises(UserError, match='folder is incomplete: a file with a piece of '):
        read_checkpoint(str(tmp_path / 'folder'))


def test_what_the_first_process_has_is_handed_out(found):
    wanted = build()
    for block in wanted.blocks:
        block.mean.fill_(7)
    drawn = torch.rand(3)
    close(found['meta', 0]['state'], wanted.state_dict(), atol=0)
    for rank in ALL:
        assert torch.equal(found['meta', rank]['drawn'], drawn)
        buffers = found['meta', rank]['buffers']
        assert all((buffers[f'blocks.{i}.mean'] == 7).all() for i in range(3))
        # Random numbers are not drawn for weights there, so that this one is another.
        assert all(buffers[f'blocks.{i}.made'].shape == (6,) for i in range(3))


def test_a_constructor_that_reads_weights_cannot_do_without():

    class Reading(torch.nn.Linear):
        def __init__(self):
            super().__init__(2, 2)
            self.norm = self.weight.norm().item()

    with (
        pytest.raises(UserError, match='meta_init=True: a constructor of this model reads its'),
        without_values(),
    ):
        Reading()
    assert not torch.nn.Linear(2, 2).weight.is_meta
