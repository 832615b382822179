# Parts of faces as label maps: images/SPLIT/NAME.jpg and masks/SPLIT/NAME.png, a gray image of
# 8 bits whose pixels are class numbers: 0 the first class, 255 ignored, nothing else.
face_seg_data_root = 'data/face_seg/'
face_seg_classes = ('background', 'skin', 'hair')
face_seg_num_classes = 3
face_seg_metainfo = dict(
    classes=face_seg_classes, palette=[(31, 119, 180), (255, 127, 14), (44, 160, 44)])

face_seg_train = dict(
    type='BaseSegDataset',
    data_root=face_seg_data_root,
    data_prefix=dict(img_path='images/train/', seg_map_path='masks/train/'),
    img_suffix='.jpg',  # only files that end so are used, in capitals or not as it stands here
    seg_map_suffix='.png',
    reduce_zero_label=False,  # 0 is a class
    metainfo=face_seg_metainfo)
face_seg_val = dict(
    type='BaseSegDataset',
    data_root=face_seg_data_root,
    data_prefix=dict(img_path='images/validation/', seg_map_path='masks/validation/'),
    img_suffix='.jpg',
    seg_map_suffix='.png',
    reduce_zero_label=False,
    metainfo=face_seg_metainfo,
    test_mode=True)
face_seg_test = face_seg_val

face_seg_val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
face_seg_test_evaluator = face_seg_val_evaluator
