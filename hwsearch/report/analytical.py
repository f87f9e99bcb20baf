"""Pictures of analytical diffusion: a grid of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.errors import InputError


def draw_images(
    rows: NDArray[np.floating[Any]], image_shape: tuple[int, int, int], path: Path, columns: int = 8
) -> None:
    """Draw images in a grid: values from -1, black, to 1, white.

    Args:
        rows: ``[images, height * width * channels]``.
        image_shape: height, width, channels: 1 (grey), 3 or 4.
        path: PNG, SVG or PDF.
        columns: images side by side.

    Raises:
        InputError: matplotlib is not installed, or cannot write such a file.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError('pictures need matplotlib: pip install "hwsearch[report]"') from error
    high = -(-len(rows) // columns)
    figure = Figure(figsize=(columns, high), dpi=100, layout="constrained")
    for place, image in enumerate(rows.reshape(-1, *image_shape)):
        axes = figure.add_subplot(high, columns, place + 1)
        axes.imshow(np.clip((image.squeeze() + 1.0) / 2.0, 0.0, 1.0), cmap="gray", vmin=0, vmax=1)
        axes.set_axis_off()
    try:
        figure.savefig(path)
    except (ValueError, OSError) as error:
        raise InputError(f"cannot draw {path}: {error}") from error
