"""Circles of MMPose's visualizer, which numpy from 2.4 on lets fail."""

from typing import Any

import numpy as np


def mend_circles(visualizer: Any) -> None:
    """Let a visualizer draw circles whose radius is an array of one number.

    MMPose's own, where it draws by OpenCV, makes an ``int`` of such an array, and numpy from 2.4 on
    makes none.

    Args:
        visualizer (Visualizer): Any; others than MMPose's stay as they are.
    """
    if getattr(visualizer, 'backend', None) != 'opencv':
        return
    draw_circles = visualizer.draw_circles

    def draw(center, radius, **options):
        return draw_circles(center=center, radius=float(np.ravel(radius)[0]), **options)

    visualizer.draw_circles = draw
