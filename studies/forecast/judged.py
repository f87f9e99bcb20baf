"""How forecasts of passes that were written down fare, with intervals over problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from trajectories import Written

from hwsearch.forecast.judging import SUMS, judged_masks
from hwsearch.forecast.methods.method import ForecastMethod, bin_of
from hwsearch.forecast.situation import Situation, best_of, transitions

#: Forecast probabilities above which tokens would be written.
THRESHOLDS = (0.8, 0.9, 0.95, 0.99)
DRAWS = 1000


class Oracle:
    """Foresees the next pass as it will be: what no forecast can beat."""

    def __init__(self, method: ForecastMethod) -> None:
        self.memory = method.memory


@dataclass(frozen=True, eq=False)
class Judged:
    """One row a mask that was forecast, and what became of the passes of each block.

    Attributes:
        problem, bin: of each mask.
        sums: as `hwsearch.forecast.judging.BinFigures`, ``[masks, sums]``.
        written, right, kept: whether each threshold writes the mask, writes what the next pass holds
            most probable, and what the text holds in the end, ``[masks, thresholds]``.
        block_problem: of each block.
        passes: each block took.
        saved: of them, by a forecast that fills the block, for each threshold, ``[blocks, thresholds]``.
        wrong: whether it then fills it with another token than the text's, likewise.
    """

    problem: NDArray[np.int64]
    bin: NDArray[np.int64]
    sums: NDArray[np.float64]
    written: NDArray[np.bool_]
    right: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    block_problem: NDArray[np.int64]
    passes: NDArray[np.int64]
    saved: NDArray[np.int64]
    wrong: NDArray[np.bool_]


def judged(method: ForecastMethod | Oracle, blocks: Sequence[Written], bins: int) -> Judged:
    """Forecast each pass from those before it."""
    masks: list[tuple[NDArray[np.generic], ...]] = []
    ends = []
    for block in blocks:
        count = len(block.passes.masked)
        saved, wrong = np.zeros(len(THRESHOLDS), int), np.zeros(len(THRESHOLDS), bool)
        for index, (situation, target) in enumerate(transitions([block.passes], method.memory)):
            found = _masks(method, situation, target, block, bins)
            masks.append(found)
            full = found[3].all(axis=0) & (saved == 0)
            saved[full] = count - 1 - index
            wrong[full] = ~found[5].all(axis=0)[full]
        ends.append((block.problem, count, saved, wrong))
    rows = [np.concatenate(column) for column in zip(*masks, strict=True)]
    return Judged(*rows, *(np.array(column) for column in zip(*ends, strict=True)))


def _masks(
    method: ForecastMethod | Oracle, situation: Situation, target, block: Written, bins: int
) -> tuple[NDArray[np.generic], ...]:
    """Rows of one transition's masks, in the order of `Judged`."""
    where = situation.masked
    now, after = situation.logits[0][where], target[where]
    change = after - now if isinstance(method, Oracle) else method.changes(situation)
    sums = judged_masks(situation, change, target, 0.5)
    token, sure = best_of(now + change)
    written = sure[:, None] > np.array(THRESHOLDS)
    right = (token == after.argmax(axis=-1))[:, None] & written
    kept = (token == block.text[where[0]])[:, None] & written
    problem = np.full(len(sums), block.problem)
    return problem, np.full(len(sums), bin_of(where, bins)[0]), sums, written, right, kept


def ratio(
    above: NDArray[np.generic], below: NDArray[np.generic], problem: NDArray[np.int64]
) -> tuple[float, float, float]:
    """Sum over sum, and its 95 % interval by a bootstrap over problems; NaN where below is 0."""
    if not below.sum():
        return (float("nan"),) * 3
    _, places = np.unique(problem, return_inverse=True)
    count = places.max() + 1
    parts = [np.bincount(places, one, count) for one in (above, below)]
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS)
    tops, bottoms = (drawn @ part for part in parts)
    ratios = tops[bottoms > 0] / bottoms[bottoms > 0]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(parts[0].sum() / parts[1].sum()), float(low), float(high)


def explained(found: Judged, where: NDArray[np.bool_]) -> dict[str, float]:
    """Figures that no threshold has a part in, for some masks."""
    column = {name: found.sums[where, place] for place, name in enumerate(SUMS)}
    problem = found.problem[where]
    error, high, low = ratio(column["error"], column["change"], problem)
    row = {"masks": int(where.sum()), "r2": 1 - error, "r2 low": 1 - low, "r2 high": 1 - high}
    for name, counts in (("agreement", "agreeing"), ("reuse agreement", "reuse_agreeing")):
        row |= _three(name, ratio(column[counts], column["masks"], problem))
    return row


def committed(found: Judged, where: NDArray[np.bool_], place: int) -> dict[str, float]:
    """What a threshold would write of some masks."""
    written, problem = found.written[where, place], found.problem[where]
    row = {"masks": int(where.sum())}
    row |= _three("written", ratio(written, np.ones(len(written)), problem))
    row |= _three("right", ratio(found.right[where, place], written, problem))
    return row | _three("kept", ratio(found.kept[where, place], written, problem))


def spared(found: Judged, problems: int, place: int) -> dict[str, float]:
    """Passes a generation, and how many of them forecasts that fill a block would spare."""
    every = found.block_problem
    generations = np.r_[np.ones(problems), np.zeros(len(every))]
    problem = np.r_[np.arange(problems), every]

    def mean(values: NDArray[np.generic]) -> tuple[float, float, float]:
        return ratio(np.r_[np.zeros(problems), values], generations, problem)

    saved = found.saved[:, place]
    row = _three("passes", mean(found.passes)) | _three("spared", mean(saved))
    row |= _three("wrong blocks", mean(found.wrong[:, place]))
    # were each second pass foreseen as it would be
    return row | _three("spared at most", mean(found.passes // 2))


def _three(name: str, values: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((name, f"{name} low", f"{name} high"), values, strict=True))
