"""The installation's check, against distributions that are really on the path, as metadata."""

import subprocess
import sys
import warnings

import pytest

from mmadapt import UserError
from mmadapt.cli import load_config
from mmadapt.compat import versions

GOOD = {
    'torch': '2.11.0',
    'torchvision': '0.26.0',
    'mmengine': '0.10.7',
    'mmcv': '2.1.0',
    'mmdet': '3.3.0',
}
MMDET = "import mmcv\nmmcv_minimum_version = '2.0.0rc4'\nmmcv_maximum_version = '{}'\n"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Makes an installation of nothing but the distributions given."""

    def install(mmcv_limit='2.2.0', torchvision_needs='torch (==2.11.0)', **changes):
        for name, version in {**GOOD, **changes}.items():
            if version is None:
                continue
            folder = tmp_path / f'{name.replace("-", "_")}-{version}.dist-info'
            folder.mkdir()
            lines = [f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}']
            if name == 'torchvision':
                lines += ['Requires-Dist: numpy', f'Requires-Dist: {torchvision_needs}']
            if name.startswith('onedl-'):
                (folder / 'top_level.txt').write_text(f'{FORKS[name]}\n')
            (folder / 'METADATA').write_text('\n'.join(lines) + '\n')
            if name == 'mmdet':
                (tmp_path / 'mmdet').mkdir()
                (tmp_path / 'mmdet' / '__init__.py').write_text(MMDET.format(mmcv_limit))
        monkeypatch.setattr(sys, 'path', [str(tmp_path)])
        monkeypatch.delitem(sys.modules, 'mmdet', raising=False)

    return install


FORKS = {fork: name for name, fork in versions.FORKS.items()}


def doubts():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        lines = versions.check_environment()
    assert [str(one.message) for one in caught] == [f'mmadapt: {line}' for line in lines]
    return lines


def test_the_tested_matrix_is_accepted_silently(installed):
    installed()
    assert doubts() == []


def test_a_local_version_label_does_not_make_torch_untested(installed):
    installed(torch='2.13.0+cu130', torchvision=None)
    assert doubts() == []


def test_a_build_before_a_release_fits_a_torchvision_that_asks_for_it_or_newer(installed):
    installed(torch='2.12.0a0', torchvision_needs='torch (>=2.11)')
    assert doubts() == []


def test_a_maintained_fork_is_known_by_its_module(installed):
    installed(
        mmengine=None,
        mmcv=None,
        mmdet=None,
        **{'onedl-mmengine': '0.10.12', 'onedl-mmcv': '2.3.6', 'onedl-mmdetection': '3.5.1'},
    )
    assert versions.installed_version('mmengine') == '0.10.12'
    assert doubts() == []


@pytest.mark.parametrize(('fork', 'name'), FORKS.items())
def test_a_fork_over_the_stock_package_is_named_with_the_way_out(installed, fork, name):
    installed(**{fork: '3.5.1'})
    assert doubts() == [
        f'{name} and {fork} are both installed, and bring the same files: pip uninstall -y {name} '
        f'{fork}, then install one of them'
    ]


def test_a_fork_of_another_version_is_untested(installed):
    installed(mmcv=None, mmdet=None, **{'onedl-mmcv': '2.4.0', 'onedl-mmdetection': '3.5.1'})
    assert doubts() == ['mmcv 2.4.0 is untested, tried was 2.1.0 or 2.3.6']


@pytest.mark.parametrize('name', ['torch', 'mmengine'])
def test_a_missing_foundation_is_refused_with_how_to_install_it(installed, name):
    installed(**{name: None})
    with pytest.raises(ImportError, match=f'needs {name}, which is not installed: .*pip install'):
        versions.check_environment()


def test_everything_missing_is_told_at_once(installed):
    installed(torch=None, mmengine=None, torchvision=None)
    with pytest.raises(ImportError) as error:
        versions.check_environment()
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ('name', 'version'),
    [
        ('torch', '1.13.1'),
        ('torch', '2.5.1'),
        ('torch', 'built by hand'),
        ('mmengine', '0.7.4'),
        ('mmengine', '0.9.1'),
    ],
)
def test_a_foundation_too_old_is_refused(installed, name, version):
    installed(**{name: version})
    with pytest.raises(ImportError, match=f'{version} is installed: .*pip install'):
        versions.check_environment()


@pytest.mark.parametrize('mmcv', ['1.7.0', '2.2.0'])
def test_mmcv_that_mmdet_raises_on_is_refused_with_the_range_and_the_way_out(installed, mmcv):
    installed(mmcv=mmcv)
    with pytest.raises(
        ImportError, match=rf'mmdet 3.3.0 refuses mmcv {mmcv} .*2.2.0\): pip uninst'
    ):
        versions.check_environment()


def test_mmdet_edited_to_take_a_newer_mmcv_is_believed(installed):
    installed(mmcv='2.2.0', mmcv_limit='2.3.0')
    assert doubts() == ['mmcv 2.2.0 is untested, tried was 2.1.0 or 2.3.6']


def test_missing_mmcv_is_warned_of_with_how_to_compile_it(installed):
    installed(mmcv=None)
    (line,) = doubts()
    assert 'mmcv is not installed' in line
    assert 'mmcv==2.1.0' in line
    assert '--no-build-isolation' in line


def test_mmcv_without_operators_is_told_from_no_mmcv(installed):
    installed(mmcv=None, **{'mmcv-lite': '2.1.0'})
    (line,) = doubts()
    assert 'pip uninstall mmcv-lite' in line


def test_mmdet_may_be_absent(installed):
    installed(mmdet=None)
    assert doubts() == []


def test_torchvision_may_be_absent(installed):
    installed(torchvision=None)
    assert doubts() == []


def test_torchvision_made_for_another_torch_is_named(installed):
    installed(torchvision='0.21.0', torchvision_needs='torch (==2.6.0)')
    (line,) = doubts()
    assert 'torchvision 0.21.0 asks for torch==2.6.0, torch 2.11.0 is installed' in line


@pytest.mark.skipif(
    sys.platform != 'linux' or versions.platform.machine() != 'x86_64',
    reason='only there the registry has a CUDA torchvision',
)
def test_cuda_torchvision_beside_cpu_torch_is_named(installed):
    installed(torch='2.11.0+cpu')
    (line,) = doubts()
    assert 'torchvision::nms does not exist' in line


def test_no_cuda_torchvision_is_looked_for_where_there_is_none(installed, monkeypatch):
    monkeypatch.setattr(versions.platform, 'machine', lambda: 'aarch64')
    installed(torch='2.11.0+cpu')
    assert doubts() == []


def test_torchvision_of_the_same_cpu_index_is_fine(installed):
    installed(torch='2.11.0+cpu', torchvision='0.26.0+cpu')
    assert doubts() == []


@pytest.mark.parametrize(
    ('name', 'version', 'tried'),
    [
        ('torch', '2.6.0', '2.11.0 to 2.13.0'),
        ('torch', '2.14.0', '2.11.0 to 2.13.0'),
        ('mmengine', '0.11.0', '0.10.7 to 0.10.12'),
        ('mmdet', '3.2.0', '3.3.0 or 3.5.1'),
    ],
)
def test_an_untested_version_is_warned_of(installed, name, version, tried):
    installed(torchvision=None, **{name: version})
    assert doubts() == [f'{name} {version} is untested, tried was {tried}']


@pytest.mark.parametrize(
    ('mmpretrain', 'transformers', 'said'),
    [
        ('1.2.0', '4.51.3', None),
        ('1.2.0', '4.52.4', ': its models cannot'),
        ('1.2.0', '4.52', ': its models cannot'),
        ('1.2.0', '4.55.4', ': its models cannot'),
        ('1.2.0', '4.56', ': its models and, through it, those of MMDetection and MMSegmentatio'),
        ('1.2.0', '4.56.2', ': its models and, through it, those of MMDetection and MMSegmentatio'),
        ('1.1.1', '5.24.0', ': its models and, through it, those of MMDetection and MMSegmentatio'),
        ('1.3.0', '5.24.0', None),
        (None, '5.24.0', None),
        ('1.2.0', None, None),
    ],
)
def test_mmpretrain_beside_a_transformers_that_breaks_it_is_one_line_with_the_remedy(
    installed, tmp_path, mmpretrain, transformers, said
):
    installed(mmpretrain=mmpretrain, transformers=transformers)
    lines = doubts()
    assert len(lines) == (said is not None)
    if said:
        assert lines[0].startswith(
            f'mmpretrain {mmpretrain} does not fit transformers {transformers}{said}'
        )
        assert lines[0].endswith("pip install 'transformers<4.52', or pip uninstall mmpretrain")
    config = tmp_path / 'config.py'
    config.write_text('a = 1\nmodel = dict(type=1)\n')
    if said and 'MMDetection' in said:
        with pytest.raises(UserError, match='does not fit transformers'):
            load_config(str(config))
    else:
        assert load_config(str(config)).a == 1


def test_the_check_imports_nothing_heavy():
    code = (
        'import importlib.util, sys\n'
        f'spec = importlib.util.spec_from_file_location("versions", {versions.__file__!r})\n'
        'module = importlib.util.module_from_spec(spec)\n'
        'spec.loader.exec_module(module)\n'
        'module.check_environment()\n'
        'print(sorted({"torch", "mmengine", "mmcv", "mmdet", "torchvision"} & set(sys.modules)))\n'
    )
    command = [sys.executable, '-W', 'ignore', '-c', code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stderr
