# What LoRA is compared with, from above: everything trains, norm statistics included.
_base_ = './rtmdet_tiny_lora_face_demo.py'
peft = dict(_delete_=True, method=None, targets='all', head='train', norm='train')
