"""tools/benchmark.py: what it reads off a step, and a small run from end to end."""

import json

import pytest
import torch
from mmengine.logging import MMLogger
from torch import nn

from mmadapt import UserError
from mmadapt.adapters import ADAPTERS, LoRA
from mmadapt.meters import step
from mmadapt.meters.peak import cpu_peak

pytest.importorskip('mmdet', reason='MMDetection is not installed')

from tools.benchmarking import cases, merged, rounds, rows, section, variants  # noqa: E402
from tools.benchmarking import command as tool  # noqa: E402

LINE = ['--size', '64', '--batch', '1', '--rounds', '2', '--device', 'cpu']
WANTED = ['head', 'norm-affine', 'lora-r8-unfolded', 'lora-r8']
TRAINABLE = dict(full=4_873_470, head=335_826, **{'lora-r8-unfolded': 639_618, 'lora-r8': 639_618})


@pytest.fixture(scope='module', autouse=True)
def _logger():
    """Give other tests the logger back that the tool silences."""
    yield
    MMLogger._instance_dict.pop('benchmark', None)


@pytest.fixture(scope='module')
def case():
    return cases.Case('rtmdet-tiny', 64, 1, torch.device('cpu'))


def saved_bytes(model, forward):
    with step.SavedForBackward(model) as saved:
        kept = forward()
        result = saved.bytes()
    del kept
    return result


@pytest.mark.parametrize('inplace', [False, True])
def test_saved_bytes_of_a_chain_are_its_input_and_one_activation(inplace):
    # The weights are saved too, the second for the gradient of the activation: not counted.
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(inplace), nn.Linear(16, 4))
    x = torch.randn(5, 8)
    assert saved_bytes(model, lambda: model(x).sum()) == 4 * (5 * 8 + 5 * 16)


def test_saved_bytes_of_a_view_are_those_of_all_it_keeps_alive():
    model = nn.Linear(1, 1)
    x = torch.randn(1000, 1)
    assert saved_bytes(model, lambda: x[:2] * model.weight) == 4 * 1000


def test_a_tensor_saved_twice_is_counted_once():
    model = nn.Linear(6, 6)
    x = torch.randn(6, 6)
    assert saved_bytes(model, lambda: x * model.weight + x.t() * model.weight) == 4 * 36


def test_a_view_of_a_parameter_and_a_buffer_are_not_counted():
    model = nn.Linear(6, 6)
    model.register_buffer('factor', torch.randn(6, 6))
    assert saved_bytes(model, lambda: model.weight[:3].t() @ model.weight[:3] * model.factor) == 0


def test_what_a_forward_pass_drops_again_is_not_counted():
    model = nn.Linear(6, 6)

    def forward():
        model.weight.exp().sum()
        return model.weight.sigmoid()

    assert saved_bytes(model, forward) == 4 * 36


def test_no_gradient_saves_nothing():
    model = nn.Linear(6, 6).requires_grad_(False)
    assert saved_bytes(model, lambda: model(torch.randn(2, 6))) == 0


def test_a_file_holds_what_trains_and_the_statistics_that_move():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    model[0].weight.requires_grad_(False)
    trained = 4 * (3 + 3 + 3)
    assert step.bytes_of_file(model.train()) == trained + 4 * (3 + 3) + 8
    assert step.bytes_of_file(model.eval()) == trained


def test_a_peak_is_of_what_is_there_at_once():
    before = torch.empty(2**22, dtype=torch.uint8)
    held = [before]
    del before

    def run():
        first = torch.empty(2**20, dtype=torch.uint8)
        second = torch.empty(2**21, dtype=torch.uint8)
        del first
        held.clear()
        third = torch.empty(2**19, dtype=torch.uint8)
        del second, third

    assert cpu_peak(run) == 2**20 + 2**21
    assert cpu_peak(lambda: None) == 0


def test_every_row_begins_a_round():
    items = ['a', 'b', 'c']
    order = [rounds.rotated(items, i) for i in range(-1, 4)]
    assert order == [list('cab'), list('abc'), list('bca'), list('cab'), list('abc')]


def run_section(case, names, rounds_=2):
    wanted = [row for row in rows.all_rows()[0] if row.name in names]
    measured = section.Section(case, wanted, {}, False, False, lambda line: None)
    measured.run(rounds_)
    return measured


def test_ratios_are_of_steps_in_the_same_round(case, monkeypatch):
    asked = []

    def step(variant, case, seed, amp):
        asked.append((seed, variant.row.name))
        slow = [1, 1, 100, 1][seed]  # another program runs during one round
        return [
            part * slow * (1 if variant.row.name == 'full' else 0.5) for part in (1.0, 2.0, 3.0)
        ]

    monkeypatch.setattr(section, 'training_step', step)
    monkeypatch.setattr(section.Section, '_merge', lambda self: None)
    results = run_section(case, ['full', 'head'], rounds_=3).results()
    assert asked == [
        (0, 'head'),
        (0, 'full'),
        (1, 'full'),
        (1, 'head'),
        (2, 'head'),
        (2, 'full'),
        (3, 'full'),
        (3, 'head'),
    ]
    full, head = results['rows']
    assert head['ratios'] == [0.5, 0.5, 0.5]
    assert (full['ratio'], full['step_s'], full['forward_s'], full['optimizer_s']) == (1, 6, 1, 3)


@pytest.fixture(scope='module')
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp('benchmark')
    known = [row.name for row in rows.all_rows()[0]]
    extra = [name for name in ('hf-lora-r8', 'ssf') if name in known]
    tool.main(
        [
            *LINE,
            '--rows',
            *WANTED,
            *extra,
            '--json',
            str(folder / 'r.json'),
            '--out',
            str(folder / 'r.md'),
        ]
    )
    return json.loads((folder / 'r.json').read_text()), (folder / 'r.md').read_text(), extra


def test_all_columns_of_a_run_are_sane(report):
    report, markdown, extra = report
    (result,) = report['sections']
    found = {row['row']: row for row in result['rows']}
    assert report['complete']
    assert not result['failed']
    assert list(found)[0] == 'full'
    assert set(found) == {'full', *WANTED, *extra}
    assert report['versions']['torch'] == torch.__version__
    assert report['threads'] == torch.get_num_threads()
    adapted = [row for name, row in found.items() if name not in ('full', 'head', 'norm-affine')]
    for name, row in found.items():
        assert row['title'] in markdown
        assert row['rounds'] == 2
        assert row['ratio'] > 0
        parts = row['forward_s'] + row['backward_s'] + row['optimizer_s']
        assert row['step_s'] == pytest.approx(parts, rel=1e-6)  # of two rounds, the mean
        assert row['trainable'] == TRAINABLE.get(name, row['trainable'])
        assert row['trainable_percent'] == pytest.approx(100 * row['trainable'] / row['total'])
        # AdamW: two moments of four bytes, and a counter for each tensor.
        assert 8 * row['trainable'] < row['optimizer_bytes'] < 8.3 * row['trainable'] + 8192
        assert row['adapter_bytes'] >= 4 * row['trainable']
        assert row['processor_ratio'] > 0
        assert row['peak_bytes'] > 4 * row['total'] + row['optimizer_bytes'] + row['saved_bytes']
        assert row['saved_bytes'] > 0
    for row in adapted:
        assert row['merge_error'] < 1e-3
        assert 0.2 < row['inference_ratio'] < 5
        assert 0 < row['injection_s'] < 30
    assert found['full']['ratio'] == found['full']['saved_ratio'] == 1
    assert found['full']['merge_error'] is found['head']['inference_ratio'] is None
    assert found['head']['saved_bytes'] < found['full']['saved_bytes'] / 4
    assert found['head']['adapter_bytes'] < found['lora-r8']['adapter_bytes']
    assert found['lora-r8']['adapter_bytes'] < found['full']['adapter_bytes'] / 5


def test_full_fine_tuning_writes_the_whole_model(report, case):
    found = {row['row']: row for row in report[0]['sections'][0]['rows']}
    state = {t.data_ptr(): t.nbytes for t in case.model.state_dict().values()}
    assert found['full']['adapter_bytes'] == sum(state.values())


def test_saved_bytes_are_the_same_every_time(case):
    full = next(row for row in rows.all_rows()[0] if row.name == 'full')
    figures = {
        rounds.first_step(variants.build_variant(full, case), case, False).saved_bytes
        for _ in range(2)
    }
    assert len(figures) == 1


@pytest.mark.parametrize('name', ['lora-r8', 'hf-lora-r8'])
def test_a_merge_that_loses_the_adapter_is_seen(case, name):
    row = next((row for row in rows.all_rows()[0] if row.name == name), None)
    if row is None:
        pytest.skip('Hugging Face peft is not installed')
    variant = variants.build_variant(row, case)

    def lose():
        for parameter in variant.adapters:
            nn.init.zeros_(parameter)

    variant.merge = lose
    assert merged.merge_error(variant, case) > 1e-3


def test_topk_chooses_what_it_chose_before():
    choices = []
    scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    with merged._Choices(choices, record=True):
        torch.topk(scores, 2, dim=1)
        scores.topk(1)
    with merged._Choices(choices, record=False):
        values, indices = torch.topk(-scores, 2, dim=1)
        assert (-scores).topk(1)[0].tolist() == [[-3.0], [-3.0]]
    assert indices.tolist() == [[0, 1], [2, 1]]
    assert values.tolist() == [[-3.0, -2.0], [-3.0, -2.0]]


def test_an_interrupted_run_shows_and_writes_what_it_has(monkeypatch, tmp_path, capsys):
    steps = iter([[1.0, 1.0, 1.0]] * 3)

    def step(variant, case, seed, amp):
        try:
            return next(steps)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(section, 'training_step', step)
    with pytest.raises(KeyboardInterrupt, match='what has been measured is above'):
        tool.main(
            [
                *LINE,
                '--rows',
                'head',
                '--json',
                str(tmp_path / 'r.json'),
                '--out',
                str(tmp_path / 'r.md'),
            ]
        )
    report = json.loads((tmp_path / 'r.json').read_text())
    assert not report['complete']
    assert [row['row'] for row in report['sections'][0]['rows']] == ['full']
    assert 'Interrupted' in (tmp_path / 'r.md').read_text()
    assert 'full fine-tuning' in capsys.readouterr().out


def test_a_row_that_breaks_does_not_take_the_others_with_it(monkeypatch, tmp_path):
    build = section.build_variant

    def broken(row, case):
        if row.name == 'norm-affine':
            raise RuntimeError('out of luck\nand more')
        return build(row, case)

    monkeypatch.setattr(section, 'build_variant', broken)
    with pytest.raises(UserError, match='rows that failed: norm-affine'):
        tool.main([*LINE, '--rows', 'norm-affine', 'head', '--json', str(tmp_path / 'r.json')])
    (result,) = json.loads((tmp_path / 'r.json').read_text())['sections']
    assert [row['row'] for row in result['rows']] == ['full', 'head']
    assert result['failed'] == {'norm-affine': 'RuntimeError: out of luck'}


def test_methods_are_those_registered(monkeypatch):
    class Other(LoRA):
        pass

    registered = {'LoRA': LoRA, 'Other': Other}
    monkeypatch.setattr(ADAPTERS, '_module_dict', registered)
    found, left_out = rows.select_rows(['lora-r8*', 'other*', 'dora-r8', 'ssf*'])
    names = [row.name for row in found]
    assert names[0] == 'full'
    assert {'lora-r8', 'lora-r8-unfolded', 'lora-r8-dropout-affine', 'other-r32'} <= set(names)
    assert {'full-remade', 'lora-r8-remade', 'lora-fa-r8', 'lora-r8-channel-remade'} <= {
        row.name for row in rows.all_rows()[0]
    }
    assert left_out == {
        'dora*': 'DoRA is not registered in ADAPTERS',
        'ssf*': 'SSF is not registered in ADAPTERS',
    }
    assert next(row for row in found if row.name == 'lora-r8-dropout').peft == dict(
        method=dict(type='LoRA', r=8, alpha=16, dropout=0.1), norm='freeze', fold_norm=True
    )


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--models', 'rtmdet-tin'], "'rtmdet-tin' is unknown; nearest: 'rtmdet-tiny'"),
        (['--rows', 'haed'], "'haed' means none; nearest: 'head'"),
        (['--size', '100'], '--size 100: rtmdet-tiny takes multiples of 32'),
        (['--models', 'rtmdet-tiny', 'dino-r50', '--size', '64'], '--size 64: dino-r50 takes'),
        (['--rounds', '0'], '--rounds must be at least 1, got 0'),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        tool.main(arguments)
