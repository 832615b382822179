"""The command ``mmadapt``: what it does before the package, which takes seconds, is imported.

It stands beside the package because importing anything in it imports all of it. The subcommands
are the modules of :mod:`mmadapt.commands`.
"""

import os
import shlex
import signal
import sys
from difflib import get_close_matches
from importlib import import_module

COMMANDS = {
    'train': 'train or adapt a model',
    'test': 'test a model: of a training, merged, or stock',
    'predict': 'look at images, with one or several adapters',
    'launch': 'train or test on several processes',
    'inspect': 'show what a config would adapt, train and freeze',
    'merge': 'merge an adapter into its base: an ordinary checkpoint',
    'dataset': 'check a data set and write a config for it',
    'convert': 'convert a job of nyuntam_adapt to a config, and train it',
    'plan': 'say which recipes for training in less memory fit a card',
    'measure': 'measure what such recipes take',
    'configs': 'list the config files that come along, and copy them',
    'install': 'install an optional package: MMPose, MMSegmentation, bitsandbytes, ...',
    'env': 'show versions, and what importing mmadapt changes',
}
_INTERRUPTS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def catch_interrupt() -> None:
    """Let Ctrl-C end this process in one line, as long as nothing else is said of it.

    In the first seconds it would otherwise be a traceback out of whatever is being imported, or be
    swallowed by a library that tries an import. :func:`mmadapt.cli.run_tool` takes its place.
    """
    signal.signal(signal.SIGINT, _stop)
    # Our launcher has the processes that it starts wait with them until here.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)


def typed_words() -> list[str]:
    """Return what was typed to start this process, as words of a shell."""
    typed = os.environ.get('MMADAPT_COMMAND')  # of a launcher, whose processes have other arguments
    if typed:
        return shlex.split(typed)
    program, *words = sys.argv
    name = os.path.basename(program)
    if name == 'mmadapt':
        return [name, *words]
    if name == '__main__.py':
        return ['python', '-m', 'mmadapt', *words]
    return ['python', program, *words]


def main() -> None:
    """Run the subcommand that ``sys.argv`` names."""
    name = sys.argv[1] if len(sys.argv) > 1 else '--help'
    if name in ('-h', '--help'):
        print(_help())
    elif name == '--version':
        print(f'mmadapt {import_module("mmadapt.version").__version__}')
    elif name in COMMANDS:
        run(name, sys.argv[2:])
    else:
        near = get_close_matches(name, (*COMMANDS, '--help', '--version'), n=1, cutoff=0.0)
        sys.stderr.write(
            f'mmadapt has no subcommand {name!r}; nearest: {near[0]!r}, all: '
            f'{", ".join(COMMANDS)}\n'
        )
        sys.exit(2)


def run(name: str, arguments: list[str] | None = None) -> None:
    """Run a subcommand, and end this process with its exit code.

    Args:
        name (str): One of :data:`COMMANDS`.
        arguments (list[str], optional): What is written behind it; by default what this process was
            started with.
    """
    catch_interrupt()
    arguments = sys.argv[1:] if arguments is None else arguments
    from mmadapt.cli import run_tool

    command = import_module(f'mmadapt.commands.{name}')
    run_tool(lambda: sys.exit(command.main(arguments)))


def _help() -> str:
    return '\n'.join(
        [
            'usage: mmadapt SUBCOMMAND ...',
            '',
            'Adapt pretrained OpenMMLab models to your own task.',
            '',
            *(f'  {name:9} {what}' for name, what in COMMANDS.items()),
            '',
            '  mmadapt configs copy peft/rtmdet_tiny_lora_face.py .',
            '  mmadapt inspect rtmdet_tiny_lora_face.py',
            '',
            '`mmadapt SUBCOMMAND --help` has its arguments; `mmadapt --version` the version.',
        ]
    )


def _stop(number, frame) -> None:
    # Of several processes our launcher speaks for all; another launcher does not speak.
    launched = 'MMADAPT_REPORTED_BY_LAUNCHER' in os.environ
    if not launched and os.environ.get('LOCAL_RANK', '0') == '0':
        sys.stderr.write(f'Stopped by Ctrl-C. To start again: {shlex.join(typed_words())}\n')
        sys.stderr.flush()
    os._exit(130)


if __name__ == '__main__':
    main()
