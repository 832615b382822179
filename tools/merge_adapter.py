"""Merge an adapter into its base: an ordinary checkpoint that stock MMDetection loads.

    python tools/merge_adapter.py CONFIG work_dirs/NAME/best_adapter merged.pth
    python tools/merge_adapter.py CONFIG work_dirs/NAME/best_adapter merged.safetensors \
        --format safetensors
"""

import argparse

from mmengine.config import DictAction

import mmadapt  # noqa: F401  registers everything
from mmadapt.cli import load_config, run_tool
from mmadapt.cli.model import build_model
from mmadapt.errors import UserError
from mmadapt.files import MERGED_NAMES, READ_BY, rebuild, write_merged
from mmadapt.tuning.config import check_export


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Merge an adapter into its base model')
    parser.add_argument('config', help='the config it was trained with')
    parser.add_argument('adapter', help='an adapter folder, or a checkpoint of the training')
    parser.add_argument('out', help='the file to write')
    parser.add_argument('--format', default='state_dict', metavar='FORMAT',
                        help=f'what it is to be, one of {", ".join(MERGED_NAMES)}; default: '
                        'state_dict, an ordinary checkpoint')
    parser.add_argument('--base', help="the base model's checkpoint, if it is no longer where it "
                        'was during training')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='NAME=VALUE',
                        help='change values of the config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    check_export('--format', args.format, [*MERGED_NAMES])
    if args.out.endswith('.safetensors') != (args.format == 'safetensors'):
        raise UserError(f'--format {args.format} does not go with the name {args.out}: '
                        '.safetensors is for --format safetensors and for nothing else')
    cfg = load_config(args.config, args.cfg_options)
    model = build_model(cfg)
    base = args.base or (cfg.get('peft') or {}).get('base')
    record = rebuild(model, args.adapter, base)
    metainfo = dict(classes=tuple(record.class_names)) if record.class_names else None
    write_merged(args.out, model, metainfo, args.format)
    print(f'{args.out}: {args.adapter} merged into {base or record.base.load_from}\n'
          f'It is for {READ_BY[args.format]}')


if __name__ == '__main__':
    run_tool(main)
