# Faces with their masks in COCO format, one folder a split, images and annotation file side by
# side, with the two categories of a Roboflow export. For data of your own: mmadapt dataset FOLDER
face_ins_data_root = 'data/face_ins/'
face_ins_classes = ('faces', 'face')
face_ins_num_classes = 2
face_ins_metainfo = dict(classes=face_ins_classes, palette=[(31, 119, 180), (255, 127, 14)])

face_ins_train = dict(
    type='CocoDataset',
    data_root=face_ins_data_root,
    ann_file='train/annotations_coco.json',
    data_prefix=dict(img='train/'),
    metainfo=face_ins_metainfo,
    # Images without boxes teach what is not a face; small ones count like others.
    filter_cfg=dict(filter_empty_gt=False, min_size=0))
face_ins_val = dict(
    type='CocoDataset',
    data_root=face_ins_data_root,
    ann_file='validation/annotations_coco.json',
    data_prefix=dict(img='validation/'),
    metainfo=face_ins_metainfo,
    test_mode=True)
face_ins_test = face_ins_val

face_ins_val_evaluator = dict(
    type='CocoMetric',
    ann_file=face_ins_data_root + 'validation/annotations_coco.json',
    # Of several metrics the last one's numbers for single classes would replace the others'.
    metric=['bbox', 'segm'])
face_ins_test_evaluator = face_ins_val_evaluator
