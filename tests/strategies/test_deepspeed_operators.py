"""What DeepSpeed compiles at the first use, and what there is to do where it cannot."""

import importlib.util
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmadapt import UserError
from mmadapt.strategies.deepspeed import operators

installed = pytest.mark.skipif(
    importlib.util.find_spec('deepspeed') is None, reason='deepspeed is not installed'
)


def test_what_is_not_installed_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match='deepspeed is not installed: mmadapt install deepspeed'):
        operators.require_deepspeed()


def test_without_a_compiler_or_ninja_the_operator_and_the_remedy_are_named(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv('CXX', 'no-such-compiler')
        with pytest.raises(UserError, match='operator shm .* no C\\+\\+ compiler no-such-compiler'):
            operators._require_compiler('shm')
    monkeypatch.setattr(operators.shutil, 'which', {'c++': '/usr/bin/c++'}.get)
    monkeypatch.delenv('CXX', raising=False)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    monkeypatch.setattr('torch.utils.cpp_extension.is_ninja_available', lambda: False)
    with pytest.raises(UserError, match='operator shm .* needs ninja; pip install ninja'):
        operators._require_compiler('shm')


@pytest.fixture
def compiling(monkeypatch, tmp_path):
    """Return a function that compiles an operator, by what DeepSpeed's builder of it does."""
    from deepspeed import accelerator

    monkeypatch.setattr(
        'torch.utils.cpp_extension._get_build_directory', lambda name, verbose: str(tmp_path)
    )
    monkeypatch.setattr(operators, '_require_compiler', lambda name: None)

    def compile_with(name, load=lambda verbose: None, **builder):
        made = SimpleNamespace(name='op', load=load, is_compatible=lambda: True)
        made.__dict__.update(builder)
        monkeypatch.setattr(
            accelerator,
            'get_accelerator',
            lambda: SimpleNamespace(
                device_name=lambda: 'cuda', create_op_builder=lambda name: made
            ),
        )
        operators._compile(name)

    return compile_with


@installed
def test_only_the_processes_do_without_their_operator(compiling):
    compiling('ShareMemCommBuilder', is_compatible=lambda: False)
    with pytest.raises(
        UserError,
        match='FusedAdamBuilder does not exist for this cuda; write '
        "optim_wrapper.optimizer.type='AdamW'",
    ):
        compiling('FusedAdamBuilder', is_compatible=lambda: False)


@installed
@pytest.mark.parametrize('name', ['MissingCUDAException', 'CUDAMismatchException'])
def test_another_cuda_than_torchs_is_one_line(name, compiling):
    from deepspeed.ops.op_builder import builder

    def load(verbose):
        raise getattr(builder, name)('CUDA_HOME does not exist\nmore of it')

    with pytest.raises(
        UserError,
        match=re.escape(
            f'nvcc of CUDA {torch.version.cuda}, that of torch: CUDA_HOME does not exist; install '
            "it and set CUDA_HOME, or write optim_wrapper.optimizer.type='AdamW'"
        ),
    ) as error:
        compiling('FusedAdamBuilder', load)
    assert '\n' not in str(error.value)


@installed
def test_what_a_killed_process_has_left_is_named_before_it_is_waited_for(
    compiling, monkeypatch, tmp_path
):
    said = []
    monkeypatch.setattr(operators, 'print_log', lambda text, *args: said.append((text, *args)))
    compiling('CPUAdamBuilder')
    assert len(said) == 1
    assert 'compiling' in said.pop()[0]
    Path(tmp_path, 'lock').touch()
    compiling('CPUAdamBuilder', lambda verbose: said.append('waits'))
    assert said[1:] == [
        (
            f'waiting for another process that compiles in {tmp_path}; if none does, '
            'because one was killed, remove that folder',
            'current',
            logging.WARNING,
        ),
        'waits',
    ]
