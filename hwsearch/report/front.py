"""The picture of a study: every plan by generation time (or energy) and loss, and the front among them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from hwsearch.errors import InputError
from hwsearch.study.goal import MILLISECONDS
from hwsearch.study.records.study import Study

#: Okabe and Ito's colours, told apart by colour-blind readers too.
SEARCHED, UNIFORM, FRONT, TARGET = "#56B4E9", "#E69F00", "#000000", "#D55E00"


def draw_front(study: Study, path: Path) -> None:
    """Draw a study as PNG, SVG or PDF, whichever `path` ends in.

    Plans without any loss (the uncompressed model) are drawn at the foot of the picture, since
    the loss axis is logarithmic.

    Raises:
        InputError: matplotlib is not installed, or cannot write such a file.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError('pictures need matplotlib: pip install "hwsearch[report]"') from error
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    frame, front, unit = study.frame(), study.front(), study.unit
    floor = frame.loc[frame["loss"] > 0, "loss"].min() / 3
    for uniform, colour, label in ((False, SEARCHED, "searched"), (True, UNIFORM, "uniform")):
        some = frame[frame["uniform"] == uniform]
        axes.scatter(some[unit.column], _shown(some, floor), s=18, color=colour, label=label)
    axes.step(
        front[unit.column], _shown(front, floor), where="post", color=FRONT, lw=1, label="front"
    )
    axes.axvline(unit.of(study.target_ms), color=TARGET, ls="--", lw=1, label="target")
    axes.set_yscale("log")
    quantity = "time" if unit == MILLISECONDS else "energy"
    axes.set_xlabel(f"predicted generation {quantity} ({unit.symbol})")
    axes.set_ylabel("KL from the uncompressed model (nats)")
    axes.set_title(f"{study.record.model} on {study.record.device}")
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False)
    try:
        figure.savefig(path)
    except (ValueError, OSError) as error:
        raise InputError(f"cannot draw {path}: {error}") from error


def _shown(frame: pd.DataFrame, floor: float) -> pd.Series:
    return frame["loss"].clip(lower=floor)
