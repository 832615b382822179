"""A `strategy` that nothing reads would be without effect."""

from ..errors import UserError


def check_strategy(cfg: dict) -> None:
    """Check that a config with a strategy has the runner that reads it.

    Args:
        cfg (dict or Config): A whole config.

    Raises:
        UserError: It has another runner.
    """
    if cfg.get('strategy') is not None and cfg.get('runner_type', 'Runner') == 'Runner':
        raise UserError(
            'the config has a `strategy`, which the stock Runner does not read: write '
            "runner_type = 'FlexibleRunner', or strategy = None"
        )
