"""What the machine lacks is said before anything is downloaded."""

import pytest

from tools.environment import checks
from tools.environment.console import SetupError


def test_a_compiler_that_cannot_compile_is_named_with_its_message(programs, monkeypatch):
    broken = programs('c++', 'echo "cc1plus: not found" >&2; exit 1')
    with pytest.raises(SetupError, match='cannot compile a small.*cc1plus: not found.*g\\+\\+ 9'):
        checks.find_compiler()
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(SetupError, match='CXX=no-such-compiler is not a program'):
        checks.find_compiler()
    assert broken.exists()


def test_missing_python_headers_are_named_with_the_package(programs, monkeypatch, tmp_path):
    programs('c++', 'exit 0')
    monkeypatch.setattr(checks.sysconfig, 'get_paths', lambda: {'include': str(tmp_path)})
    with pytest.raises(SetupError, match=r'no .*/Python\.h.*apt-get install python3\.\d+-dev'):
        checks.find_compiler()


def test_a_python_without_venv_is_told_the_package(monkeypatch):
    monkeypatch.setattr(checks.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(SetupError, match=r'no module venv .*apt-get install python3\.\d+-venv'):
        checks.check_venv_module()


def test_a_full_disk_is_told_in_gigabytes(tmp_path):
    with pytest.raises(SetupError, match='GB free and 1000000 GB are needed'):
        checks.check_disk(tmp_path, 10**15)
    checks.check_disk(tmp_path, 1)


def test_the_driver_tells_what_to_compile_for(programs, monkeypatch):
    assert checks.operators() == 'cpu'
    programs('nvidia-smi', 'printf "9.0\\n8.0\\n9.0\\n"')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    assert checks.operators() == 'cuda-8.0+9.0'
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '8.6;9.0+PTX')
    assert checks.operators() == 'cuda-8.6+9.0PTX'
    monkeypatch.setenv('MMADAPT_OPS', 'cpu')
    assert checks.operators() == 'cpu'
    monkeypatch.setenv('MMADAPT_OPS', 'gpu')
    with pytest.raises(SetupError, match='MMADAPT_OPS=gpu is neither cpu nor cuda'):
        checks.operators()


def test_a_node_without_cards_is_asked_for_the_architecture(programs, monkeypatch):
    monkeypatch.setenv('MMADAPT_OPS', 'cuda')
    with pytest.raises(SetupError, match='TORCH_CUDA_ARCH_LIST=9.0'):
        checks.operators()
    # A driver that is installed but finds no card prints a sentence and fails.
    programs('nvidia-smi', 'echo "No devices were found"; exit 6')
    monkeypatch.setenv('MMADAPT_OPS', '')
    assert checks.operators() == 'cpu'


def test_a_wrong_number_of_jobs_is_refused(monkeypatch):
    monkeypatch.setenv('MAX_JOBS', 'many')
    with pytest.raises(SetupError, match='MAX_JOBS=many'):
        checks.compile_jobs()
    monkeypatch.setenv('MAX_JOBS', '3')
    assert checks.compile_jobs() == 3
