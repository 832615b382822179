"""Why a training cannot go on from a file."""

import pytest

from mmadapt import UserError
from mmadapt.files.resumable import check_can_resume

TRAINING = dict(meta=dict(iter=3, epoch=1))


@pytest.mark.parametrize(
    ('checkpoint', 'path', 'why'),
    [
        (
            TRAINING,
            'epoch_1.pth',
            'it was written with .*save_optimizer=False and .*scheduler=False',
        ),
        (TRAINING, 'best_coco_bbox_mAP_epoch_1.pth', r'best_\*.pth never does; resume epoch_k.pth'),
        (dict(meta={}), 'base.pth', 'it is not one that a training has left'),
        (dict(), 'base.pth', 'it is not one that a training has left'),
    ],
)
def test_the_reason_is_the_one_of_that_file(checkpoint, path, why):
    with pytest.raises(UserError, match=f'{path} holds no .* cannot be resumed: {why}'):
        check_can_resume(checkpoint, path, schedules=True)


def test_a_whole_one_is_accepted():
    check_can_resume(dict(TRAINING, optimizer={}), 'epoch_1.pth', schedules=False)
    check_can_resume(dict(TRAINING, optimizer={}, param_schedulers=[]), 'epoch_1.pth', True)
