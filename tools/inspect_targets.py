"""``mmadapt inspect``.

python tools/inspect_targets.py configs/peft/rtmdet_tiny_lora_face.py
"""

from mmadapt_command import run

if __name__ == '__main__':
    run('inspect')
