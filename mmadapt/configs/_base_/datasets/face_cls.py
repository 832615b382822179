# Faces sorted into folders, SPLIT/CLASS/NAME.jpg. Classes are numbered by the sorted names of all
# folders there are, hidden and empty ones too: every split has the same ones, and no others.
face_cls_data_root = 'data/face_cls/'
face_cls_classes = ('glasses', 'plain')
face_cls_num_classes = 2
face_cls_metainfo = dict(classes=face_cls_classes)

face_cls_train = dict(
    type='CustomDataset',
    data_root=face_cls_data_root,
    data_prefix='train/',
    metainfo=face_cls_metainfo)
face_cls_val = dict(
    type='CustomDataset',
    data_root=face_cls_data_root,
    data_prefix='validation/',
    metainfo=face_cls_metainfo,
    test_mode=True)
face_cls_test = face_cls_val

face_cls_val_evaluator = dict(type='Accuracy', topk=(1, ))
face_cls_test_evaluator = face_cls_val_evaluator
