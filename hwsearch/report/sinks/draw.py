"""Pictures of sinks: masses by pass and position, where the sinks' centre goes, variance by layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsearch.errors import InputError
from hwsearch.report.sinks.measures import SinkMeasures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#E69F00")

#: Layers that fit beside one another.
SHOWN = 6


def draw_sinks(models: Sequence[SinkMeasures], out: Path) -> list[Path]:
    """Draw heat maps, trajectories and variances of one model, or of two side by side, as PNG.

    Raises:
        InputError: matplotlib is not installed.
    """
    pictures = {
        "heat.png": _heat(models),
        "trajectories.png": _trajectories(models),
        "variance.png": _variance(models),
    }
    for name, figure in pictures.items():
        figure.savefig(out / name)
    return [out / name for name in pictures]


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError('pictures need matplotlib: pip install "hwsearch[report]"') from error
    return Figure(figsize=(width, height), dpi=130, layout="constrained")


def shown_layers(count: int) -> list[int]:
    """At most `SHOWN` layers, first and last among them."""
    return sorted({round(layer) for layer in np.linspace(0, count - 1, min(SHOWN, count))})


def _heat(models: Sequence[SinkMeasures]) -> Figure:
    layers = shown_layers(models[0].heat.shape[1])
    figure = _figure(2.2 * len(layers) + 0.8, 2.4 * len(models) + 0.3)
    grid = figure.subplots(len(models), len(layers), squeeze=False, sharex=True)
    for row, measures in zip(grid, models, strict=True):
        for axes, layer in zip(row, layers, strict=True):
            heat = measures.heat[:, min(layer, measures.heat.shape[1] - 1)]
            share = heat / np.maximum(heat.sum(axis=1, keepdims=True), 1e-30)
            image = axes.imshow(
                np.sqrt(share), aspect="auto", cmap="viridis", interpolation="nearest"
            )
            axes.set_title(f"{measures.model}, layer {layer}", fontsize=8)
            axes.tick_params(labelsize=7)
        row[0].set_ylabel("pass")
        figure.colorbar(image, ax=row, label="√ share of mass", shrink=0.8)
    for axes in grid[-1]:
        axes.set_xlabel("position")
    return figure


def _trajectories(models: Sequence[SinkMeasures]) -> Figure:
    layers = shown_layers(models[0].centres.shape[2])
    figure = _figure(2.2 * len(layers) + 0.8, 2.8)
    grid = figure.subplots(1, len(layers), squeeze=False, sharey=True)[0]
    for axes, layer in zip(grid, layers, strict=True):
        for measures, colour in zip(models, COLOURS, strict=False):
            centres = measures.centres[:, :, min(layer, measures.centres.shape[2] - 1)]
            time = np.linspace(0, 1, centres.shape[1])
            low, middle, high = np.quantile(centres, [0.1, 0.5, 0.9], axis=0)
            axes.fill_between(time, low, high, color=colour, alpha=0.2, lw=0)
            axes.plot(time, middle, color=colour, lw=1.5, label=measures.model)
        axes.set_title(f"layer {layer}", fontsize=9)
        axes.set_xlabel("share of passes done")
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.3)
    grid[0].set_ylabel("centre of the sinks\n(share of the length)")
    grid[0].legend(frameon=False, fontsize=8)
    return figure


def _variance(models: Sequence[SinkMeasures]) -> Figure:
    figure = _figure(9, 2.9)
    names: dict[str, Any] = {
        "variance": "1 − frequency of positions\nthat ever were sinks",
        "temporal": "standard deviation of the\nsinks' centre (share of length)",
        "concentration": "share of mass on the sinks",
    }
    for axes, (name, label) in zip(figure.subplots(1, 3), names.items(), strict=True):
        for measures, colour in zip(models, COLOURS, strict=False):
            values = getattr(measures, name)
            low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
            layer = np.arange(values.shape[1])
            axes.fill_between(layer, low, high, color=colour, alpha=0.2, lw=0)
            axes.plot(layer, middle, "o-", ms=3, color=colour, label=measures.model)
        axes.set_xlabel("layer")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure
