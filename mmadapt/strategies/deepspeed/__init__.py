"""Training with DeepSpeed's ZeRO (https://arxiv.org/abs/1910.02054)."""

from .strategy import DeepSpeedStrategy

__all__ = ['DeepSpeedStrategy']
