# What LoRA is compared with, from below: only the head trains, everything before it is frozen.
_base_ = './rtmdet_tiny_lora_face_demo.py'
peft = dict(_delete_=True, method=None, head='train', norm='freeze')
