"""``mmadapt test``, under the name and with the arguments of MMDetection's tools/test.py.

python tools/test.py configs/peft/rtmdet_tiny_lora_face.py work_dirs/RUN/epoch_1.pth
"""

from mmadapt_command import run

if __name__ == '__main__':
    run('test')
