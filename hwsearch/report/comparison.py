"""The picture of a comparison: what each device's best plan costs on every other device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwsearch.errors import InputError


def draw_cross(
    title: str,
    plans: Sequence[str],
    devices: Sequence[str],
    ratios: Sequence[Sequence[float | None]],
    target: float,
    path: Path,
) -> None:
    """Draw plans by devices, each cell the cost as a share of the device's uncompressed plan.

    Args:
        title: whose plans they are.
        plans: names of the rows.
        devices: names of the columns.
        ratios: one row a plan; None where the device cannot run it.
        target: the share that a plan may cost; cells above it are framed.
        path: PNG, SVG or PDF.

    Raises:
        InputError: matplotlib is not installed, or cannot write such a file.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError('pictures need matplotlib: pip install "hwsearch[report]"') from error
    values = np.array([[np.nan if r is None else r for r in row] for row in ratios], dtype=float)
    size = (2.5 + 1.1 * len(devices), 1.8 + 0.5 * len(plans))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="cividis_r", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        known = not np.isnan(value)
        dark = known and value > 0.6
        text = f"{value:.2f}" if known else "cannot run"
        axes.text(column, row, text, ha="center", va="center", color="w" if dark else "k", size=8)
        if known and value > target * (1 + 1e-9):
            axes.add_patch(_frame(column, row))
    axes.set_xticks(range(len(devices)), devices, rotation=30, ha="right")
    axes.set_yticks(range(len(plans)), plans)
    axes.set_title(f"{title}\nframed: above the target of {target:.2f}", size=10)
    figure.colorbar(image, ax=axes, label="share of the device's uncompressed plan")
    try:
        figure.savefig(path)
    except (ValueError, OSError) as error:
        raise InputError(f"cannot draw {path}: {error}") from error


def _frame(column: int, row: int):  # type: ignore[no-untyped-def]
    from matplotlib.patches import Rectangle

    corner = (column - 0.47, row - 0.47)
    return Rectangle(corner, 0.94, 0.94, fill=False, edgecolor="#D55E00", linewidth=2)
