"""What is read from a job's file."""

import pytest

from mmadapt.errors import UserError
from mmadapt.jobs import Job, read_job
from mmadapt.jobs.job import plain


def write(tmp_path, text: str):
    path = tmp_path / 'job.yaml'
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('5e-3', 0.005),
        ('1e-4', 0.0001),
        ('-3', -3),
        ('None', None),
        ('null', None),
        (' ', None),
        ('True', True),
        ('false', False),
        ('0,1', '0,1'),
        ('rtmdet', 'rtmdet'),
        (['1', 'None'], [1, None]),
    ],
)
def test_text_is_what_its_writer_meant(text, value):
    found = plain(text)
    assert found == value
    assert type(found) is type(value)


def test_text_that_looks_like_a_number_stays_text():
    job = Job(dict(OUTPUT_DIR='007', class_list=['01', '1e3', 'true'], palette=[]))
    assert job.get('OUTPUT_DIR') == '007'
    assert job.get('class_list') == ['01', '1e3', 'true']
    assert 'palette' not in job


def test_numbers_in_dicts_are_numbers():
    job = Job(dict(lr_scheduler_kwargs=dict(min_lr='1e-6'), cfg_options={'load_from': 'None'}))
    assert job.get('lr_scheduler_kwargs') == dict(min_lr=1e-6)
    assert job.get('cfg_options') == dict(load_from=None)


def test_yes_and_no_are_words_where_words_are_asked_for(tmp_path):
    job = read_job(write(tmp_path, 'downcast_bf16: yes\nMILESTONES: [8.0, 11]\n'))
    assert job.get('downcast_bf16') == 'yes'
    assert job.get('MILESTONES') == [8, 11]


def test_a_rate_without_a_dot_is_a_number(tmp_path):
    # YAML 1.1 has 5e-3 as text, and a bare `no` as False.
    job = read_job(write(tmp_path, 'LR : 5e-3\nmixed_precision: no\nTEST_DIR :\nEPOCHS: 3.0\n'))
    assert job.get('LR') == 0.005
    assert job.get('mixed_precision') == 'no'
    assert job.get('EPOCHS') == 3
    assert 'TEST_DIR' not in job
    assert not job.errors


@pytest.mark.parametrize(
    ('key', 'near'),
    [('EPOCH', 'EPOCHS'), ('batch_size', 'BATCH_SIZE'), ('Peft_method', 'PEFT_METHOD')],
)
def test_an_unknown_key_names_the_nearest(key, near):
    (error,) = Job({key: 1}).errors
    assert error.said.endswith(f'did you mean {near}?')


@pytest.mark.parametrize(
    ('key', 'value', 'said'),
    [
        ('EPOCHS', 0, 'an integer of at least 1'),
        ('EPOCHS', 1.5, 'an integer of at least 1'),
        ('LR', 'fast', 'a number above 0'),
        ('dropout', 1, 'from 0 to below 1'),
        ('DO_TRAIN', 'yes please', 'True or False'),
        ('SAVE_METHOD', 'state_dictt', "nearest: 'state_dict'"),
        ('PEFT_METHOD', 'LoRa+', "nearest: 'LoRA'"),
        ('MILESTONES', [1, 'b'], 'whole numbers'),
        ('palette', [[1, 2]], 'colors'),
        ('cfg_options', 'a=b', 'must be a dict'),
        ('cfg_options', {'z = 1\nprint(1)\ny': 1}, 'is no place in a config'),
        ('cfg_options', {'_base_': 1}, 'is no place in a config'),
        ('cfg_options', {1: 2, '': 3}, 'is no place in a config'),
        ('cfg_options', {'a': float('inf')}, 'is no number'),
        ('cfg_options', {'a': '{{ fileBasename }}'}, 'MMEngine replaces'),
        ('OUTPUT_DIR', '{{ fileBasename }}', 'MMEngine replaces'),
        ('dest_root', 'x\nprint(1)', 'text of one line'),
        ('class_list', ['a\nb'], 'text of one line'),
        ('cuda_id', 'all', 'numbers of GPUs'),
        ('LR', float('inf'), 'a number above 0'),
        ('palette', [[300, 1, 1]], 'from 0 to 255'),
        ('palette', [[1, 1, 1, 1]], 'three numbers'),
        ('MILESTONES', True, 'whole numbers'),
        ('lr_scheduler_kwargs', True, 'must be a dict'),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_key(key, value, said):
    (error,) = Job({key: value}).errors
    assert error.key == key
    assert said in error.said


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('EPOCHS: 1\nLR: 1\nEPOCHS: 2\n', 'EPOCHS stands twice, the second time in line 3'),
        ('EPOCHS: [1\n', 'line 2: no YAML'),
        ('- EPOCHS\n', 'holds list, not keys'),
        ('', 'holds NoneType, not keys'),
        ('EPOCHS: !!python/object/apply:os.getcwd []\n', 'no YAML'),
        ('? [a, b]\n: 1\n', 'a key has to be a name'),
        ('EPOCHS: \x01\n', 'no YAML'),
        ('EPOCHS: 2024-13-45\n', 'no YAML'),
    ],
)
def test_a_file_that_is_no_job_says_where_it_is_wrong(tmp_path, text, said):
    with pytest.raises(UserError, match='job.yaml') as error:
        read_job(write(tmp_path, text))
    assert said in str(error.value)


def test_a_missing_file_names_the_nearest(tmp_path):
    write(tmp_path, 'EPOCHS: 1')
    with pytest.raises(UserError, match=r'did you mean .*job\.yaml\?'):
        read_job(tmp_path / 'jop.yaml')
