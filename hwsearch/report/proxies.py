"""How well each loss ranks plans as their accuracy does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hwsearch.errors import InputError
from hwsearch.files import FileKind
from hwsearch.files.kinds import MIB
from hwsearch.files.tables import check_numbers, read_csv
from hwsearch.schema import MOST_INTEGER, MOST_NUMBER

Interval = tuple[float, float]
Measure = Callable[[NDArray[np.float64], NDArray[np.float64]], float]

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
        cost_passes: median work of one loss, in full passes over one sequence.
        seconds: median wall-clock time of one loss.
        spearman, spearman_interval: rank correlation of minus the loss with exact match.
        kendall, kendall_interval: the same as Kendall's tau-b.
        behind_interval: by how much the best proxy's Spearman exceeds this one's, over the same plans;
            an interval that holds 0 means that the two cannot be told apart.
    """

    proxy: str
    plans: int
    cost_passes: float
    seconds: float
    spearman: float
    spearman_interval: Interval
    kendall: float
    kendall_interval: Interval
    behind_interval: Interval

    def document(self) -> dict[str, Any]:
        """The ranking as plain data."""
        return asdict(self)


#: The file of a study of proxies.
LOSSES_FILE = FileKind("CSV of losses", 256 * MIB, fix="`python studies/proxies/run.py` writes it")


#: The least and the largest number of each column that holds any.
_NUMBERS = {
    "loss": (-MOST_NUMBER, MOST_NUMBER),
    "cost_passes": (0.0, MOST_NUMBER),
    "seconds": (0.0, MOST_NUMBER),
    "solved": (0.0, float(MOST_INTEGER)),
    "problems": (1.0, float(MOST_INTEGER)),
}


def read_losses(path: Path) -> pd.DataFrame:
    """Rows of the study's CSV. Raises `InputError`, naming the file and what is wrong with it."""
    frame = read_csv(path, LOSSES_FILE)
    missing = sorted(set(COLUMNS) - set(frame.columns))
    if missing:
        raise InputError(f"{path}: lacks the columns {', '.join(missing)}")
    check_numbers(frame, _NUMBERS, path, LOSSES_FILE)
    if frame[["plan", "proxy"]].isna().any(axis=None):
        raise LOSSES_FILE.refuse(path, "every row must name its plan and proxy")
    return frame


def careful(frame: pd.DataFrame, at_least: float) -> pd.DataFrame:
    """The rows of plans that solve at least a share of the problems.

    Raises:
        InputError: there are fewer than three such plans.
    """
    kept = frame[frame["solved"] >= at_least * frame["problems"]]
    if kept["plan"].nunique() < 3:
        raise InputError(
            f"{kept['plan'].nunique()} plans solve at least {at_least:.0%} of the problems, and "
            "ranks need 3; ask for less"
        )
    return kept


def rank(frame: pd.DataFrame, *, resamples: int = 2000, seed: int = 0) -> list[Ranking]:
    """Rank correlations of every proxy with exact match, the best Spearman first.

    Intervals are 95 % percentile bootstraps over plans, the same plans drawn for all proxies; the
    noise of a finite number of problems is in the exact matches that are resampled.

    Raises:
        InputError: a proxy was measured on fewer than three plans, or on other plans than the rest.
    """
    ordered = frame.sort_values("plan", kind="stable")
    groups = {str(name): rows for name, rows in ordered.groupby("proxy")}
    _check(groups)
    count = len(next(iter(groups.values())))
    drawn = np.random.default_rng(seed).integers(count, size=(resamples, count))
    found = [_Bootstrap.of(name, rows, drawn) for name, rows in groups.items()]
    found.sort(key=lambda one: -one.spearman[0])
    return [one.ranking(found[0]) for one in found]


def _check(groups: Mapping[str, pd.DataFrame]) -> None:
    first_name, first = next(iter(groups.items()))
    for name, rows in groups.items():
        if len(rows) < 3:
            raise InputError(f"proxy {name}: ranks need at least 3 plans, got {len(rows)}")
        if list(rows["plan"]) != list(first["plan"]):
            raise InputError(
                f"proxies {first_name} and {name} were measured on different plans; let "
                "`python studies/proxies/run.py` finish, or remove the rows of the unfinished plan"
            )


@dataclass(frozen=True)
class _Bootstrap:
    """One proxy's correlations on all plans, followed by those on each resample."""

    name: str
    rows: pd.DataFrame
    spearman: NDArray[np.float64]
    kendall: NDArray[np.float64]

    @classmethod
    def of(cls, name: str, rows: pd.DataFrame, drawn: NDArray[np.int64]) -> _Bootstrap:
        gain = -rows["loss"].to_numpy(float)
        accuracy = (rows["solved"] / rows["problems"]).to_numpy(float)
        everyone = np.arange(len(rows))
        spearman, kendall = (
            np.array([measure(gain[at], accuracy[at]) for at in (everyone, *drawn)])
            for measure in _measures()
        )
        return cls(name, rows, spearman, kendall)

    def ranking(self, best: _Bootstrap) -> Ranking:
        """What is reported, beside the best proxy."""
        return Ranking(
            proxy=self.name,
            plans=len(self.rows),
            cost_passes=float(self.rows["cost_passes"].median()),
            seconds=float(self.rows["seconds"].median()),
            spearman=float(self.spearman[0]),
            spearman_interval=_interval(self.spearman[1:]),
            kendall=float(self.kendall[0]),
            kendall_interval=_interval(self.kendall[1:]),
            behind_interval=_interval(best.spearman[1:] - self.spearman[1:]),
        )


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


def _interval(values: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
