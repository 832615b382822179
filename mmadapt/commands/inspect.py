"""Show what a config would adapt, train and freeze, and the count; no data, no training.

Examples:
    mmadapt inspect rtmdet_tiny_lora_face.py --summary
"""

import argparse
import shutil
import sys
from collections.abc import Collection

from ..classes import lines_of, names_of_checkpoint, names_of_config
from ..cli import load_config
from ..cli.arguments import add_config, make_parser
from ..cli.model import get_peft, local_file
from ..config_model import build_model
from ..files import KEY, AdapterRecord, make_base_record, read_checkpoint, refuse_adapter
from ..files.prefix import with_full_keys
from ..hooks.going_on import find_misfits
from ..hooks.kept_rows import find_rows, trained_over
from ..peft import inject
from ..peft.report import WIDE


def parse_args(arguments: list[str]) -> argparse.Namespace:
    """Read what was typed behind the subcommand; ``--help`` and mistakes end the process."""
    parser = make_parser('inspect', __doc__)
    add_config(parser, 'peft.method.r=16')
    parser.add_argument('--summary', action='store_true', help='one row a part, not one a layer')
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Run the subcommand."""
    args = parse_args(arguments)
    cfg = load_config(args.config, args.cfg_options)
    peft = get_peft(cfg)
    model = build_model(cfg)
    load_from = cfg.get('load_from')
    if load_from:
        refuse_adapter(load_from)
    file = load_from and local_file(load_from)
    not_loaded: Collection[str] = ()
    kept = None
    if file:
        checkpoint = read_checkpoint(file)
        state = checkpoint['state_dict']
        if KEY in checkpoint:  # what it does not hold is in its base
            record = AdapterRecord.from_dict(checkpoint[KEY], file)
            not_loaded = {*record.not_loaded, *find_misfits(model, state, {}, file)}
            base = record.base.load_from and local_file(record.base.load_from)
            tensors = read_checkpoint(base)['state_dict'] if base else {}
            state = trained_over(model, state, with_full_keys(model, tensors))
        else:
            not_loaded = make_base_record(model, file, state).not_in_base
            state = with_full_keys(model, state)
        names = names_of_checkpoint(checkpoint)
        kept = find_rows(cfg, model, peft, names_of_config(cfg), names, state, load_from)
        not_loaded = {*not_loaded, *([] if kept is None else kept.changed)}
    report = inject(model, peft, not_loaded)
    # What is no terminal has no width to fit into.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE
    print(
        '\n'.join([report.summary(width), *report.warnings, report.line()])
        if args.summary
        else report.text(width)
    )
    for line in lines_of(kept, width):
        print(line)
    if load_from and not file:
        print(
            f'{load_from} is not on this machine: layers that it has no weight for would train '
            'fully and are not counted so here'
        )
    elif not load_from:
        print('load_from is not set: it is taken for granted that every layer has its weights')
