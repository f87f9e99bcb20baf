"""Whole models that were run: what operator sums are held against, and what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from hwsearch.latency.calibrate import fit_line
from hwsearch.latency.device import Calibration

#: The file beside a table that holds every whole-model run.
WHOLE_FILE = "whole-model.csv"


@dataclass(frozen=True)
class Whole:
    """A plan that was run whole: operator sums and measured passes, in milliseconds.

    Attributes:
        sums: of a refresh and of a step.
        measured: medians of both.
    """

    sums: tuple[float, float]
    measured: tuple[float, float]


def calibrate_wholes(model: str, wholes: Sequence[Whole]) -> Calibration:
    """The lines of refresh and step. Raises `ValueError` as `fit_line`."""
    refresh, step = (
        fit_line([w.sums[part] for w in wholes], [w.measured[part] for w in wholes])
        for part in (0, 1)
    )
    return Calibration(model=model, refresh=refresh, step=step)


def whole_frame(
    wholes: Sequence[Whole], calibration: Calibration, held_out: int = 0
) -> pd.DataFrame:
    """Every plan that was run whole: sums, prediction, measurement, and whether it was fitted on.

    Args:
        wholes: the plans.
        calibration: fitted on all but the last `held_out` of them.
        held_out: how many the lines have not seen.
    """
    rows = []
    for index, whole in enumerate(wholes):
        row: dict[str, object] = {"plan": index, "fitted": index < len(wholes) - held_out}
        for part, name in enumerate(("refresh", "step")):
            line = calibration.lines[part]
            assert line is not None
            row[f"{name}_sum_ms"] = whole.sums[part]
            row[f"{name}_predicted_ms"] = line.intercept_ms + line.slope * whole.sums[part]
            row[f"{name}_measured_ms"] = whole.measured[part]
        rows.append(row)
    return pd.DataFrame(rows)
