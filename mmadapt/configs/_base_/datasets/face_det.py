# Faces in COCO format, one folder a split, images and annotation file side by side, with the two
# categories of a Roboflow export. For data of your own: mmadapt dataset FOLDER
face_det_data_root = 'data/face_det/'
face_det_classes = ('faces', 'face')
face_det_num_classes = 2
face_det_metainfo = dict(classes=face_det_classes, palette=[(31, 119, 180), (255, 127, 14)])

face_det_train = dict(
    type='CocoDataset',
    data_root=face_det_data_root,
    ann_file='train/annotations_coco.json',
    data_prefix=dict(img='train/'),
    metainfo=face_det_metainfo,
    # Images without boxes teach what is not a face; small ones count like others.
    filter_cfg=dict(filter_empty_gt=False, min_size=0))
face_det_val = dict(
    type='CocoDataset',
    data_root=face_det_data_root,
    ann_file='validation/annotations_coco.json',
    data_prefix=dict(img='validation/'),
    metainfo=face_det_metainfo,
    test_mode=True)
face_det_test = face_det_val

face_det_val_evaluator = dict(
    type='CocoMetric',
    ann_file=face_det_data_root + 'validation/annotations_coco.json',
    metric='bbox')
face_det_test_evaluator = face_det_val_evaluator
