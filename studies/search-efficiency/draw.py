"""Pictures of the efficiency studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = {
    "additive": "#000000",
    "gp": "#0072B2",
    "tpe": "#D55E00",
    "cmaes": "#009E73",
    "nsga2": "#CC79A7",
    "random": "#999999",
}
FLOOR = 1e-5


def draw_curves(
    curves: Mapping[str, Sequence[NDArray[np.float64]]], path: Path, title: str
) -> None:
    """Hypervolume still missing against evaluations: median and range over the seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    for name, colour in COLOURS.items():
        if name not in curves:
            continue
        length = min(len(curve) for curve in curves[name])
        missing = np.maximum(1 - np.array([c[:length] for c in curves[name]]), FLOOR)
        at = np.arange(1, length + 1)
        axes.plot(at, np.median(missing, axis=0), color=colour, label=name)
        axes.fill_between(at, missing.min(axis=0), missing.max(axis=0), color=colour, alpha=0.15)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for bound in (1e-2, 1e-3):
        axes.axhline(bound, color="#666666", ls=":", lw=1)
    axes.set_xlabel("evaluations")
    axes.set_ylabel("share of the hypervolume still missing")
    axes.set_title(f"{title}\n(median and range of {len(next(iter(curves.values())))} seeds)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path)
