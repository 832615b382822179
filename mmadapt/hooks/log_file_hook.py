"""A log of a run in a file of its own, wherever its work directory is."""

import logging
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS

from ..errors import WriteError
from ..logs import is_first_process
from ..values import check_text


@HOOKS.register_module()
class LogFileHook(Hook):
    """Writes what a run logs to one more file, behind what is there already.

    Args:
        path (str): The file. Its folder is made if need be.

    Raises:
        UserError: The path is no text.
    """

    priority = 'HIGHEST'  # before what says something

    def __init__(self, path: str) -> None:
        check_text('LogFileHook.path', path, 'the path of a file')
        self.path = Path(path)
        self._handler: logging.Handler | None = None

    def before_run(self, runner) -> None:
        """Open the file, in the first process.

        Raises:
            WriteError: It cannot be written.
        """
        if not is_first_process():
            return
        logger: MMLogger = runner.logger
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handler = logging.FileHandler(self.path, encoding='utf-8')
        except OSError as error:
            raise WriteError(f'{self.path} cannot be written: {error.strerror}') from error
        # The logger itself lets everything through; its handlers have the level of the config.
        self._handler.setLevel(max(handler.level for handler in logger.handlers))
        self._handler.setFormatter(
            logging.Formatter('%(asctime)s - %(name)s - %(levelname)s - %(message)s')
        )
        logger.addHandler(self._handler)

    def after_run(self, runner) -> None:
        """Close the file."""
        if self._handler is not None:
            runner.logger.removeHandler(self._handler)
            self._handler.close()
            self._handler = None
