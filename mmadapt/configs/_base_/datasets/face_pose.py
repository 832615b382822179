# Five points of faces in COCO's keypoint format, one folder a split, images and annotation file
# side by side. For points of your own: mmadapt configs copy _base_/datasets/face_pose.py .
face_pose_data_root = 'data/face_pose/'
# MMPose reads the next name where its RTMO is given this file. A point whose `swap` is another's
# name changes places with it when an image is flipped.
dataset_info = dict(
    dataset_name='face_pose',
    keypoint_info={
        0: dict(id=0, name='left_eye', swap='right_eye', color=[31, 119, 180], type='upper'),
        1: dict(id=1, name='right_eye', swap='left_eye', color=[255, 127, 14], type='upper'),
        2: dict(id=2, name='nose', swap='', color=[44, 160, 44], type='upper'),
        3: dict(id=3, name='left_mouth', swap='right_mouth', color=[214, 39, 40], type='lower'),
        4: dict(id=4, name='right_mouth', swap='left_mouth', color=[148, 103, 189], type='lower'),
    },
    skeleton_info={
        0: dict(id=0, link=('left_eye', 'right_eye'), color=[127, 127, 127]),
        1: dict(id=1, link=('left_eye', 'nose'), color=[127, 127, 127]),
        2: dict(id=2, link=('right_eye', 'nose'), color=[127, 127, 127]),
        3: dict(id=3, link=('left_mouth', 'right_mouth'), color=[127, 127, 127]),
    },
    joint_weights=[1.0, 1.0, 1.0, 1.0, 1.0],
    # By how much of the square root of an object's area annotators differ; COCO's for the eyes.
    sigmas=[0.025, 0.025, 0.025, 0.025, 0.025])
face_pose_metainfo = dataset_info

face_pose_train = dict(
    type='CocoDataset',
    data_root=face_pose_data_root,
    ann_file='train/annotations_coco.json',
    data_prefix=dict(img='train/'),
    metainfo=face_pose_metainfo)
face_pose_val = dict(
    type='CocoDataset',
    data_root=face_pose_data_root,
    ann_file='validation/annotations_coco.json',
    data_prefix=dict(img='validation/'),
    bbox_file=None,  # boxes of the annotations; a detector's are in the stock file's place
    metainfo=face_pose_metainfo,
    test_mode=True)
face_pose_test = face_pose_val

face_pose_val_evaluator = dict(
    type='CocoMetric',
    # Never left out: MMPose then takes the file of whichever data set was built last.
    ann_file=face_pose_data_root + 'validation/annotations_coco.json',
    # Of detections below a threshold, as those of a new head are, the file's order is the rank.
    keypoint_score_thr=0.)
face_pose_test_evaluator = face_pose_val_evaluator
