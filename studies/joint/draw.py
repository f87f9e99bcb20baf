"""Fronts of the joint study: least predicted time against loss, a line an arm and seed.

python studies/joint/draw.py docs/images/joint.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from run import ARMS, HERE, WORST, Tried, read, table_of

#: Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = dict(zip(ARMS, ("#009E73", "#0072B2", "#CC79A7", "#E69F00", "#000000"), strict=True))
LEAST = 1e-5


def front(trials: list[Tried]) -> tuple[list[float], list[float]]:
    """Losses and times of a front, as the corners of its steps."""
    losses, times = [], []
    best = np.inf
    for one in sorted(trials, key=lambda each: (each.loss, each.ms)):
        if one.ms < best:
            losses.append(max(one.loss, LEAST))
            times.append(one.ms)
            best = one.ms
    return [*losses, WORST], [*times, best]


def draw(axes: Axes, path: Path, decoding: str, seeds: list[int]) -> None:
    """All arms of one way to decode."""
    for arm, colour in COLOURS.items():
        for index, seed in enumerate(seeds):
            trials = read(path, decoding, arm, seed)
            if trials:
                losses, times = front(trials)
                label, width = (arm, 1.8) if index == 0 else (None, 0.7)
                axes.step(losses, times, where="post", color=colour, lw=width, label=label)
    axes.set_xscale("log")
    axes.set_xlim(LEAST, WORST)
    axes.set_xlabel("KL from the uncompressed model, nats")
    axes.set_ylabel("predicted ms a generation")
    axes.set_title("decoded as its makers do" if decoding == "fixed" else "decoding chosen, too")
    axes.grid(alpha=0.3)


def main() -> None:
    """Draw the fronts of `cpu`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    path = table_of(options.out, "cpu")
    table = pd.read_csv(path)
    decodings = list(table["decoding"].unique())
    figure = Figure(figsize=(5.5 * len(decodings), 4.2), dpi=150, layout="constrained")
    for axes, decoding in zip(
        figure.subplots(1, len(decodings), squeeze=False)[0], decodings, strict=True
    ):
        draw(axes, path, decoding, sorted(table["seed"].unique()))
    figure.axes[0].legend(frameon=False)
    figure.savefig(options.path)


if __name__ == "__main__":
    main()
