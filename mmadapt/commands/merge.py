"""Merge an adapter into its base: an ordinary checkpoint that stock MMDetection loads.

Beside it stands the config that goes with it where mmadapt is not installed, merged.py.

Examples:
    mmadapt merge rtmdet_tiny_lora_face.py work_dirs/rtmdet_tiny_lora_face/best_adapter merged.pth
"""

import argparse
from pathlib import Path

from mmengine.config import Config

from ..classes import names_in, names_of_record
from ..cli import load_config
from ..cli.arguments import add_config, add_force, make_parser
from ..cli.plain_config import plain_config
from ..cli.written import how_to_use
from ..config_model import build_model
from ..datasets.checks import metainfo_of
from ..errors import UserError
from ..files import (
    MERGED_NAMES,
    READ_BY,
    AdapterRecord,
    check_can_write,
    rebuild,
    write_atomically,
    write_merged,
)
from ..files.existing import refuse_existing
from ..peft.config import check_export

_HEADER = '# Written by `mmadapt merge`: what {} is tested and used with, without mmadapt.\n'


def parse_args(arguments: list[str]) -> argparse.Namespace:
    """Read what was typed behind the subcommand; ``--help`` and mistakes end the process."""
    parser = make_parser('merge', __doc__)
    add_config(parser)
    parser.add_argument('adapter', help='an adapter folder, or a checkpoint of the training')
    parser.add_argument(
        'out', help='the file to write; beside it comes a config of the same name with .py'
    )
    parser.add_argument(
        '--format',
        default='state_dict',
        metavar='FORMAT',
        help=f'what it is to be, one of {", ".join(MERGED_NAMES)}; default: '
        'state_dict, an ordinary checkpoint',
    )
    parser.add_argument(
        '--base',
        help="the base model's checkpoint, if it is no longer where it was during training",
    )
    add_force(parser)
    return parser.parse_args(arguments)


def config_beside(out: str) -> Path:
    """Return where the config goes.

    Raises:
        UserError: A file of somebody else is there.
    """
    config = Path(out).with_suffix('.py')
    if config.exists() and not config.read_text(encoding='utf-8', errors='replace').startswith(
        _HEADER.partition('{')[0]
    ):
        raise UserError(
            f'{config} is there, where the config of {out} goes, and was not written '
            'by this tool; choose another name for OUT'
        )
    return config


def metainfo_of_merged(cfg: Config, record: AdapterRecord) -> dict:
    """Return what a merged file says of the data set that its model was trained on.

    Args:
        cfg (Config): The config of that training.
        record (AdapterRecord): What the file with the adapter says of itself.
    """
    if record.keypoint_names:  # MMPose draws and flips by what else stands beside the names
        names, metainfo = names_of_record(vars(record)), metainfo_of(cfg, 'train')
        return metainfo if names_in(metainfo) == names else {}
    return dict(classes=tuple(record.class_names)) if record.class_names else {}


def base_of(record: AdapterRecord, base: str | None) -> str:
    """Name what an adapter was merged into."""
    own = ', '.join(name or 'the model' for name in record.base.pretrained)
    return (
        base
        or record.base.load_from
        or (f'the pretrained weights of {own}' if own else 'the weights that it holds itself')
    )


def main(arguments: list[str]) -> None:
    """Run the subcommand."""
    args = parse_args(arguments)
    check_export('--format', args.format, [*MERGED_NAMES])
    if args.out.endswith('.safetensors') != (args.format == 'safetensors'):
        raise UserError(
            f'--format {args.format} does not go with the name {args.out}: '
            '.safetensors is for --format safetensors and for nothing else'
        )
    config = config_beside(args.out)
    refuse_existing(args.force, args.out, str(config))
    check_can_write(args.out)
    cfg = load_config(args.config, args.cfg_options)
    model = build_model(cfg)
    base = args.base or (cfg.get('peft') or {}).get('base')
    record = rebuild(model, args.adapter, base)
    metainfo = metainfo_of_merged(cfg, record)
    write_merged(args.out, model, metainfo, args.format)
    plain = plain_config(cfg, record.class_names)
    text = _HEADER.format(Path(args.out).name) + plain.pretty_text
    write_atomically(config, lambda path: Path(path).write_text(text, encoding='utf-8'))
    print(
        f'{args.out}: {args.adapter} merged into {base_of(record, base)}\n'
        f'It is for {READ_BY[args.format]}\n'
        f'{config}: the config that goes with it, without mmadapt'
    )
    if args.format == 'state_dict':
        print('\n'.join(how_to_use(str(config), args.out, plain)))
