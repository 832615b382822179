"""One bit more or less makes another fingerprint; nothing else does."""

import hashlib

import pytest
import torch

from mmadapt.files.fingerprint import file_sha256, fingerprint


def test_the_order_of_keys_memory_layout_and_gradients_do_not_matter():
    a, b = torch.randn(2, 3, 4, 4), torch.arange(5)
    wanted = fingerprint(dict(a=a, b=b))
    assert len(wanted) == 64
    assert fingerprint(dict(b=b, a=a)) == wanted
    assert fingerprint(dict(a=a.to(memory_format=torch.channels_last), b=b)) == wanted
    assert fingerprint(dict(a=torch.nn.Parameter(a.clone()), b=b.clone())) == wanted


@pytest.mark.parametrize(
    'change',
    [
        lambda t: dict(a=torch.nextafter(t, torch.tensor(9.0))),
        lambda t: dict(b=t),
        lambda t: dict(a=t.reshape(2, 3)),
        lambda t: dict(a=t.view(torch.int32)),
        lambda t: dict(a=t, b=t),
        lambda t: dict(a=-t),
        lambda t: {},
    ],
)
def test_values_names_shapes_types_and_number_matter(change):
    t = torch.zeros(6)
    assert fingerprint(change(t)) != fingerprint(dict(a=t))


@pytest.mark.parametrize(
    'dtype', [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.uint8]
)
def test_every_type_scalars_and_empty_tensors_are_taken(dtype):
    for tensor in (torch.ones(3, 2).to(dtype), torch.ones(()).to(dtype), torch.ones(0).to(dtype)):
        assert len(fingerprint(dict(a=tensor))) == 64


def test_a_files_hash_is_the_one_sha256sum_prints(tmp_path):
    content = bytes(range(256)) * 10000
    (tmp_path / 'file').write_bytes(content)
    assert file_sha256(tmp_path / 'file') == hashlib.sha256(content).hexdigest()
