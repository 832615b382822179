"""Show what a config would adapt, train and freeze, and the count; no data, no training.

    python tools/inspect_targets.py configs/peft/rtmdet_tiny_lora_face.py
"""

if __name__ == '__main__':
    import ctrl_c  # noqa: F401  before all that takes seconds to import

import argparse
import shutil
import sys

import mmadapt
from mmadapt.cli import load_config, run_tool
from mmadapt.cli.model import build_model, get_peft, local_file
from mmadapt.cli.options import DictAction
from mmadapt.files import KEY, AdapterRecord, make_base_record, read_checkpoint
from mmadapt.hooks.going_on import find_misfits
from mmadapt.tuning.report import WIDE


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Show what a config would adapt')
    parser.add_argument('config', help='config file with a `peft` key')
    parser.add_argument('--summary', action='store_true', help='one row a part, not one a layer')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='NAME=VALUE',
                        help='change values of the config, for instance peft.method.r=16')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    peft = get_peft(cfg)
    model = build_model(cfg)
    load_from = cfg.get('load_from')
    file = load_from and local_file(load_from)
    not_loaded = []
    if file:
        checkpoint = read_checkpoint(file)
        state = checkpoint['state_dict']
        if KEY in checkpoint:  # what it does not hold is in its base
            record = AdapterRecord.from_dict(checkpoint[KEY], file)
            not_loaded = {*record.not_loaded, *find_misfits(model, state, {}, file)}
        else:
            not_loaded = make_base_record(model, file, state).not_in_base
    report = mmadapt.inject(model, peft, not_loaded)
    # What is no terminal has no width to fit into.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE
    print('\n'.join([report.summary(width), *report.warnings, report.line()])
          if args.summary else report.text(width))
    if load_from and not file:
        print(f'{load_from} is not on this machine: layers that it has no weight for would train '
              'fully and are not counted so here')
    elif not load_from:
        print('load_from is not set: it is taken for granted that every layer has its weights')


if __name__ == '__main__':
    run_tool(main)
