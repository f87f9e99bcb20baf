"""From passes to generations: what a generation costs beside the passes it is made of.

Idea: a pass alone is timed over and over. In a generation it finds caches that something else has just
used, and between two of them tokens are chosen, positions are chosen, and keys and values handed on. So

    generation = slope * passes + pass_ms * their number + fill_ms * refreshes + once_ms

Steps: the same plans write text in many passes, in few, and one block alone
(`hwsearch.latency.generations`); non-negative relative least squares tells the costs apart.

Limits: costs are the same whatever the plan; what grows with its passes is in the slope. Generations of
one length tell no two of them apart: then they have one line, whose intercept is shared out by pass.

Source: as `hwsearch.latency.prediction.calibration`; non-negative least squares with priors as rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwsearch.latency.devices.device import GenerationCosts, Line
from hwsearch.latency.generations import ScheduledGeneration

#: Relative error that is expected of a whole-model run.
NOISE = 0.01

#: How far a pass within a generation strays from the same pass alone, beside what is spent between passes.
WITHIN = 0.03

#: What may be spent once a pass, a refresh or a generation, in passes: wide, so that runs decide.
BESIDE = 1.0


class GenerationFit(NamedTuple):
    """How passes become generations.

    Attributes:
        line: over the sum of passes.
        costs: what is added to it; None where one generation alone was run.
    """

    line: Line
    costs: GenerationCosts | None


def fit_generations(
    passes_ms: ArrayLike, generations: Sequence[ScheduledGeneration], measured_ms: ArrayLike
) -> GenerationFit:
    """Fit the line of generations, and the costs beside it where their lengths differ.

    The slope is drawn towards 1. All plans have about the same passes, so what a pass takes longer and
    what is spent between passes are hard to tell apart; noise would tilt the line.

    Args:
        passes_ms: a refresh and another pass of each plan, ``[plans, 2]``.
        generations: what was run.
        measured_ms: how long it took, ``[plans, generations]``.

    Raises:
        ValueError: fewer than two plans.
    """
    measured = np.asarray(measured_ms, dtype=np.float64)
    if len(measured) < 2:
        raise ValueError("a line of generations needs at least two plans")
    counts = np.array([(one.refreshes, one.passes - one.refreshes) for one in generations])
    sums = np.asarray(passes_ms, dtype=np.float64) @ counts.T
    beside = _beside(generations)
    columns = [sums, *(np.broadcast_to(column, sums.shape) for column in beside)]
    design = np.stack(columns, axis=-1) / measured[..., None]
    typical = float(np.median(sums / counts.sum(axis=1)))
    values = _fitted(design.reshape(-1, len(columns)), typical, bounded=len(generations) > 1)
    error = (design @ values - 1.0).ravel()
    line = Line(
        intercept_ms=0.0 if len(generations) > 1 else float(values[1]),
        slope=float(values[0]),
        mape=float(np.abs(error).mean()),
        plans=len(measured),
        scatter=float(np.sqrt((error**2).sum() / max(len(error) - len(values), 1))),
    )
    if len(generations) == 1:
        return GenerationFit(line, None)
    pass_ms, fill_ms, once_ms = values[1:].tolist()
    return GenerationFit(line, GenerationCosts(pass_ms=pass_ms, fill_ms=fill_ms, once_ms=once_ms))


def _beside(generations: Sequence[ScheduledGeneration]) -> list[NDArray[np.float64]]:
    """How often each cost occurs, a cost a row, ``[generations]`` each."""
    once = np.ones(len(generations))
    if len(generations) == 1:
        return [once]
    passes = np.array([float(one.passes) for one in generations])
    return [passes, np.array([float(one.refreshes) for one in generations]), once]


def _fitted(design: NDArray[np.float64], typical_ms: float, bounded: bool) -> NDArray[np.float64]:
    """Slope and costs that come nearest to 1 in all rows; costs of several lengths are not negative."""
    from scipy.optimize import lsq_linear

    width = design.shape[1]
    beside = NOISE / (BESIDE * typical_ms) if bounded else 0.0
    drawn = np.diag([NOISE / WITHIN, *[beside] * (width - 1)])
    wanted = np.append(np.ones(len(design)), [NOISE / WITHIN, *[0.0] * (width - 1)])
    least = [1e-6, *[0.0 if bounded else -np.inf] * (width - 1)]
    found = lsq_linear(np.vstack([design, drawn]), wanted, bounds=(least, np.inf))
    return np.asarray(found.x)
