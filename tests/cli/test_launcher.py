"""How many processes are started, with how many threads, and what is said of their end."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch

from mmadapt.cli import launcher as launch


@pytest.fixture
def machine(monkeypatch):
    """Return a function that gives this machine so many GPUs and cores."""

    def set_machine(gpus, cores):
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
        monkeypatch.setattr(launch.os, 'sched_getaffinity', lambda _: set(range(cores)))

    monkeypatch.setattr(launch.os, 'environ', {})
    return set_machine


@pytest.mark.parametrize(
    ('cores', 'processes', 'threads'), [(2, 2, '1'), (16, 2, '8'), (2, 4, '1')]
)
def test_processes_on_a_cpu_share_its_cores(machine, cores, processes, threads):
    machine(gpus=0, cores=cores)
    assert launch.prepare(SimpleNamespace(nproc_per_node=str(processes))) is None
    assert launch.os.environ['OMP_NUM_THREADS'] == threads


def test_threads_that_the_user_set_stay(machine):
    machine(gpus=0, cores=16)
    launch.os.environ['OMP_NUM_THREADS'] = '3'
    launch.prepare(SimpleNamespace(nproc_per_node='2'))
    assert launch.os.environ['OMP_NUM_THREADS'] == '3'


def test_more_processes_than_gpus_are_refused(machine):
    machine(gpus=2, cores=16)
    assert launch.prepare(SimpleNamespace(nproc_per_node='2')) is None
    assert 'ask for at most 2' in launch.prepare(SimpleNamespace(nproc_per_node='3'))


def failure(exitcode, message):
    return SimpleNamespace(
        exitcode=exitcode,
        message=message,
        local_rank=1,
        signal_name=lambda: signal.Signals(-exitcode).name,
    )


def test_a_killed_process_is_explained():
    line = launch.explain(failure(-9, 'Signal 9 (SIGKILL) received by PID 5'))
    assert line.startswith('process 1 was ended by signal 9 (SIGKILL)')
    assert 'memory' in line


def test_a_user_error_is_shown_without_its_class():
    assert launch.explain(failure(2, dict(message='UserError: no such file'))) == 'no such file'


@pytest.mark.parametrize('exitcode', [1, 130])
def test_a_process_that_has_spoken_is_not_repeated(exitcode):
    assert launch.explain(failure(exitcode, 'To enable traceback see: ...')) is None


@pytest.fixture
def main(monkeypatch, capsys):
    """Return a function that starts the launcher with another in the place of torch's."""
    for name in (launch.REPORTED_BY_LAUNCHER, 'OMP_NUM_THREADS'):
        monkeypatch.setenv(name, '1')
    for owner, name in (
        (launch.LocalElasticAgent, '_start_workers'),
        (launch.processes, '_terminate_process_handler'),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # taken back with this
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def start(run):
        monkeypatch.setattr(launch.run, 'run', run)
        words = ['--nproc-per-node', '1', 'train.py']
        monkeypatch.setattr('sys.argv', ['launch.py', *words])
        return launch.launch(words), capsys.readouterr().err

    yield start
    for number, handler in before.items():
        signal.signal(number, handler)


def stop(*_):
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_before_there_is_any_process_is_one_sentence(main):
    code, said = main(stop)
    assert code == 128 + signal.SIGTERM
    assert said.startswith('Stopped by SIGTERM. To start again: ')
    assert said.count('\n') == 1


def test_a_signal_while_processes_are_started_waits_until_they_have(main, monkeypatch):
    """Torch's launcher would not end one that it is just starting."""
    started = []

    def start(agent):
        stop()
        started.append(True)

    def run(args):
        signal.signal(signal.SIGTERM, launch.processes._terminate_process_handler)  # as torch's
        launch.LocalElasticAgent._start_workers(None)

    monkeypatch.setattr(launch.LocalElasticAgent, '_start_workers', start)
    code, said = main(run)
    assert started == [True]
    assert code == 128 + signal.SIGTERM
    assert said.startswith('Stopped by SIGTERM. To start again: ')
