"""Whole models that were run: what operator sums are held against, and what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hwsearch.errors import TableError
from hwsearch.files import FileKind
from hwsearch.files.kinds import MIB
from hwsearch.files.tables import check_numbers, read_csv
from hwsearch.latency.devices.costs import Sums
from hwsearch.latency.devices.device import Calibration
from hwsearch.latency.prediction.calibration import fit_pass

#: Columns of generations of few passes, and of one block of such a one.
SHORT_COLUMNS = ("few_passes_measured_ms", "one_block_measured_ms")

RUNS_FILE = FileKind("table of whole-model runs", 64 * MIB, TableError, "remove it")

#: Milliseconds of passes that every row has, and their bounds.
_TIMES = {
    f"{kind}_{what}_ms": (least, 1e12)
    for kind in ("refresh", "step")
    for what, least in (("predicted", -1e12), ("measured", 1e-9))
}

#: The file beside a table that holds every whole-model run.
WHOLE_FILE = "whole-model.csv"


@dataclass(frozen=True)
class Whole:
    """A plan that was run whole: operator sums and measured passes, in milliseconds.

    Attributes:
        sums: of a refresh and of a step, by format.
        measured: medians of both.
        generation_ms: median of a generation, where one was run.
        short_ms: of further ones, of few passes and of one block, where these were run.
    """

    sums: tuple[Sums, Sums]
    measured: tuple[float, float]
    generation_ms: float | None = None
    short_ms: tuple[float, ...] = ()


def calibrate_wholes(model: str, wholes: Sequence[Whole]) -> Calibration:
    """The lines of refresh and step. Raises `ValueError` as `fit_pass`."""
    refresh, step = (
        fit_pass([w.sums[part] for w in wholes], [w.measured[part] for w in wholes])
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
        fitted = index < len(wholes) - held_out
        row: dict[str, object] = {"model": calibration.model, "plan": index, "fitted": fitted}
        for part, name in enumerate(("refresh", "step")):
            line = calibration.lines[part]
            assert line is not None
            row[f"{name}_sum_ms"] = sum(whole.sums[part].values())
            row[f"{name}_predicted_ms"] = line.of(whole.sums[part])
            row[f"{name}_measured_ms"] = whole.measured[part]
        row["generation_measured_ms"] = whole.generation_ms
        row |= zip(SHORT_COLUMNS, whole.short_ms, strict=False)
        rows.append(row)
    return pd.DataFrame(rows)


def read_runs(path: Path) -> pd.DataFrame:
    """A device's whole-model runs, one row a plan, as `whole_frame` writes them.

    Raises:
        TableError: they cannot be read; the message names the row.
    """
    frame = read_csv(path, RUNS_FILE)
    for name in ("model", "plan"):
        if name not in frame.columns:
            raise RUNS_FILE.refuse(path, f"it must have a column {name!r}")
    check_numbers(frame, _TIMES, path, RUNS_FILE)
    return frame


def with_runs(folder: Path | None, fresh: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
    """The file of a device's whole-model runs, fresh ones in place of those of the same model.

    Args:
        folder: whose runs are kept; None keeps none.
        fresh: runs of one model; None where none was run.
    """
    known = pd.DataFrame()
    if folder is not None and (
        (folder / WHOLE_FILE).exists() or (folder / WHOLE_FILE).is_symlink()
    ):
        known = read_runs(folder / WHOLE_FILE)
    if fresh is not None and not known.empty:
        known = known[~known["model"].isin(fresh["model"])]
    parts = [part for part in (known, fresh) if part is not None and not part.empty]
    return {WHOLE_FILE: pd.concat(parts, ignore_index=True)} if parts else {}
