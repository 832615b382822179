"""``mmadapt train``, under the name and with the arguments of MMDetection's tools/train.py.

python tools/train.py configs/peft/rtmdet_tiny_lora_face.py --cfg-options peft.method.r=16
"""

from mmadapt_command import run

if __name__ == '__main__':
    run('train')
