"""Measure what fine-tuning costs in every way; see benchmarking/command.py.

python tools/benchmark.py --models rtmdet-tiny faster-rcnn-r50 --rows 'lora-*' 'hf-*' --rounds 9
"""

if __name__ == '__main__':
    from mmadapt_command import catch_interrupt

    catch_interrupt()  # before all that takes seconds to import

    from benchmarking.command import main

    from mmadapt.cli import run_tool

    run_tool(main)
