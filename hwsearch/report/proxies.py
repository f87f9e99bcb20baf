"""How well each loss ranks plans as their accuracy does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hwsearch.errors import InputError

#: Where `studies/proxies/run.py` writes, seen from the folder it is run in.
DEFAULT_TABLE = Path("studies/proxies/losses.csv")

#: Columns that the study writes, one row a plan and proxy.
COLUMNS = ("plan", "proxy", "loss", "cost_passes", "seconds", "solved", "problems")


@dataclass(frozen=True)
class Ranking:
    """How one proxy ranks plans.

    Attributes:
        proxy: its name.
        plans: plans that were ranked.
        cost_passes: work of one loss, in full passes over one sequence.
        seconds: median wall-clock time of one loss.
        spearman, spearman_interval: rank correlation of minus the loss with exact match.
        kendall, kendall_interval: the same as Kendall's tau-b.
    """

    proxy: str
    plans: int
    cost_passes: float
    seconds: float
    spearman: float
    spearman_interval: tuple[float, float]
    kendall: float
    kendall_interval: tuple[float, float]

    def document(self) -> dict[str, Any]:
        """The ranking as plain data."""
        return asdict(self)


def read_losses(path: Path) -> pd.DataFrame:
    """Rows of the study's CSV. Raises `InputError`, naming the file and what it lacks."""
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read {path} ({error}); `python studies/proxies/run.py` writes it"
        ) from error
    missing = sorted(set(COLUMNS) - set(frame.columns))
    if missing:
        raise InputError(f"{path}: lacks the columns {', '.join(missing)}")
    return frame


def rank(frame: pd.DataFrame, *, resamples: int = 2000, seed: int = 0) -> list[Ranking]:
    """Rank correlations of every proxy with exact match, the best Spearman first.

    Intervals are 95 % percentile bootstraps over plans; the noise of a finite number of
    problems is in the exact matches that are resampled.

    Raises:
        InputError: a proxy was measured on fewer than three plans.
    """
    found = [_rank(str(name), rows, resamples, seed) for name, rows in frame.groupby("proxy")]
    return sorted(found, key=lambda ranking: -ranking.spearman)


def _rank(name: str, rows: pd.DataFrame, resamples: int, seed: int) -> Ranking:
    if len(rows) < 3:
        raise InputError(f"proxy {name}: ranks need at least 3 plans, got {len(rows)}")
    gain = -rows["loss"].to_numpy(float)
    accuracy = (rows["solved"] / rows["problems"]).to_numpy(float)
    spearman, kendall = _measures()
    return Ranking(
        proxy=name,
        plans=len(rows),
        cost_passes=float(rows["cost_passes"].iloc[0]),
        seconds=float(rows["seconds"].median()),
        spearman=spearman(gain, accuracy),
        spearman_interval=_interval(spearman, gain, accuracy, resamples, seed),
        kendall=kendall(gain, accuracy),
        kendall_interval=_interval(kendall, gain, accuracy, resamples, seed),
    )


Measure = Callable[[NDArray[np.float64], NDArray[np.float64]], float]


def _measures() -> tuple[Measure, Measure]:
    """Spearman's rho and Kendall's tau-b; 0 where one side is constant."""
    from scipy import stats

    def of(test: Callable[..., Any]) -> Measure:
        def measure(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
            if np.ptp(x) == 0 or np.ptp(y) == 0:
                return 0.0
            return float(test(x, y).statistic)

        return measure

    return of(stats.spearmanr), of(stats.kendalltau)


def _interval(
    measure: Measure,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(x), size=(resamples, len(x)))
    values = [measure(x[index], y[index]) for index in drawn]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
