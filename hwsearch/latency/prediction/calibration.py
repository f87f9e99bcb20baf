"""From operator sums to pass times: one line for refresh, one for step, fitted on whole models.

Idea: a sum of medians misses what a whole pass takes besides (calls, memory that is colder or warmer
than a probe's), which is about a constant and a factor. So

    pass = intercept + slope * sum over groups of factor * operators

where a group is a weight format, or attention in layers that choose positions (`Group`).

Steps: run plans that span the search whole, in sessions that are brought to one pace (`at_one_pace`);
fit the plain line (`fit_line`); draw each group's factor from it as far as the runs ask for
(`fit_pass`); fit generations over the passes that these predict
(`hwsearch.latency.prediction.generation_fit`).

Limits: all plans of a model have equally many layers, so a factor that all formats share looks like an
intercept. Factors are drawn towards 1 for that reason, and are good for predictions rather than for
saying what a kernel costs. A line holds for the model's sizes and the workload that it was fitted on.

Source: relative least squares; the drawing is ridge regression (Hoerl and Kennard 1970) with known
scales of noise and of factors.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwsearch.latency.devices.costs import Sums
from hwsearch.latency.devices.device import Calibration, Line
from hwsearch.latency.generations import scheduled_generations
from hwsearch.latency.operators import Workload
from hwsearch.latency.prediction.generation_fit import NOISE, fit_generations
from hwsearch.plan import (
    SHORT_FORMS,
    CompressionPlan,
    LayerPlan,
    WeightFormat,
    WeightPruning,
)

#: Relative error that is expected of what a group's probes say; it is also the share of a pass that may
#: lie beside its operators.
STRAYS = 0.2

#: Pruning that needs no calibration.
MAGNITUDE: Final = WeightPruning(method="magnitude", sinks="ignore")


def fit_line(sums_ms: Sequence[float], measured_ms: Sequence[float]) -> Line:
    """The line through (sum, measured) that is least wrong in relative terms.

    Args:
        sums_ms: operator sum of each plan.
        measured_ms: measured pass time of each plan, in the same order.

    Raises:
        ValueError: fewer than two plans, or all sums are equal.
    """
    from scipy.optimize import lsq_linear

    sums, measured = np.asarray(sums_ms), np.asarray(measured_ms)
    if len(sums) < 2 or np.ptp(sums) == 0:
        raise ValueError("a line needs at least two plans of different operator sums")
    design = np.stack((np.ones_like(sums), sums), axis=1) / measured[:, None]
    # the intercept may be negative: probes hand every operator its inputs, a model does not
    fit = lsq_linear(design, np.ones_like(sums), bounds=([-np.inf, 1e-6], np.inf))
    error = design @ fit.x - 1.0
    return Line(
        intercept_ms=float(fit.x[0]),
        slope=float(fit.x[1]),
        mape=float(np.abs(error).mean()),
        plans=len(sums),
        scatter=float(np.sqrt((error**2).sum() / max(len(sums) - 2, 1))),
    )


def fit_pass(sums_ms: Sequence[Sums], measured_ms: Sequence[float]) -> Line:
    """As `fit_line`, where each group may be worth more or less than its probes say.

    How the operators of a format run alone and how they run among others differ by format: by where
    their weights lie, by what the runtime fuses. And choosing positions takes time that no probe
    sees. The factors are drawn towards 1 and the intercept towards 0 (`STRAYS` against `NOISE`), so
    that few plans do not move them far: plans have equally many layers, so what each format takes
    too long and what every pass takes besides are hard to tell apart.

    Args:
        sums_ms: operator sums of each plan by group.
        measured_ms: measured pass time of each plan, in the same order.

    Raises:
        ValueError: as `fit_line`.
    """
    groups = sorted({group for sums in sums_ms for group in sums if group is not None})
    line = fit_line([sum(sums.values()) for sums in sums_ms], measured_ms)
    if len(groups) < 2:
        return line
    measured = np.asarray(measured_ms)
    parts = np.array([[sums.get(group, 0.0) for group in groups] for sums in sums_ms])
    whole = np.array([sum(sums.values()) for sums in sums_ms])
    design = np.column_stack((np.ones_like(whole), whole, parts)) / measured[:, None]
    typical = [float(np.median(measured)), np.inf, *[line.slope] * len(groups)]
    drawn = np.diag(NOISE / (STRAYS * np.array(typical)))  # the slope may be anything
    values = np.linalg.lstsq(
        np.concatenate([design, drawn]), np.repeat([1.0, 0.0], [len(whole), len(drawn)])
    )[0]
    intercept, slope, *strays = (float(value) for value in values)
    factors = {group: 1.0 + stray / slope for group, stray in zip(groups, strays, strict=True)}
    if slope <= 0 or min(factors.values()) <= 0:
        return line  # too few plans, or too much noise, to tell groups apart
    error = design @ values - 1.0
    found = Line(
        intercept_ms=intercept,
        slope=slope,
        mape=float(np.abs(error).mean()),
        plans=len(whole),
        choosing=factors.get("choosing"),
        formats={g: factor for g, factor in factors.items() if isinstance(g, WeightFormat)},
    )
    return found.model_copy(update={"scatter": float(np.sqrt((error**2).sum() / found.degrees))})


def fit_lines(
    model: str,
    workload: Workload,
    sums_ms: Sequence[tuple[Sums, Sums]],
    measured_ms: Sequence[Sequence[float]],
) -> Calibration:
    """Lines of refresh and step, and of generations over the passes that these two predict.

    Args:
        model: the model that was run whole.
        workload: what it generated.
        sums_ms: operator sums of a refresh and of a step by group, plan by plan.
        measured_ms: measured refresh and step, and one or all of
            `hwsearch.latency.generations.scheduled_generations`, in the same order.

    Raises:
        ValueError: as `fit_line`.
    """
    measured = np.asarray(measured_ms)
    lines = [
        fit_pass([sums[part] for sums in sums_ms], measured[:, part].tolist()) for part in (0, 1)
    ]
    passes_ms = np.array(
        [[line.of(part) for line, part in zip(lines, sums, strict=True)] for sums in sums_ms]
    )
    generations = scheduled_generations(workload.decoding)[: measured.shape[1] - 2]
    found = fit_generations(passes_ms, generations, measured[:, 2:])
    return Calibration(
        model=model,
        passes=workload.decoding.steps,
        refresh=lines[0],
        step=lines[1],
        generation=found.line,
        costs=found.costs,
    )


def at_one_pace(sessions: ArrayLike) -> NDArray[np.float64]:
    """Times of several sessions, as if the machine had been as fast in each.

    Within a session all plans take turns, so their ratios hold; how fast the machine is changes from
    one to the next.

    Args:
        sessions: positive times, ``[sessions, plans, kinds of pass]``.

    Returns:
        The same, each session scaled by one factor a kind of pass.
    """
    logs = np.log(np.asarray(sessions, dtype=np.float64))
    slow = logs.mean(axis=1, keepdims=True)
    return np.exp(logs - slow + slow.mean(axis=0, keepdims=True))


def calibration_plans(
    num_layers: int,
    formats: Sequence[WeightFormat],
    thresholds: Sequence[float],
    mixed: int = 8,
    seed: int = 0,
    sizes: Mapping[str, Sequence[int | None]] | None = None,
) -> list[CompressionPlan]:
    """Plans that span what a search will visit: each format everywhere, and random mixes.

    Args:
        num_layers: layers of the model.
        formats: weight formats, least compressed first.
        thresholds: sink thresholds.
        mixed: random mixes.
        seed: of the mixes.
        sizes: ``kept_heads`` and ``kept_channels`` that layers of mixes may have, for those that are
            pruned at all. Which of them stay costs no time, so magnitude decides.
    """
    uniform = [CompressionPlan.uniform(num_layers, f.value, f.value, head=f) for f in formats]
    rng, pruned = random.Random(seed), {k: v for k, v in (sizes or {}).items() if len(v) > 1}
    pruning = MAGNITUDE if pruned else WeightPruning()

    def layer() -> LayerPlan:
        chosen: dict[str, Any] = {"sink_threshold": rng.choice(thresholds)}
        # factors are of formats, not of products: two of them a layer mix all formats as well as four
        chosen |= {short: rng.choice(formats) for short in SHORT_FORMS}
        return LayerPlan.model_validate(
            chosen | {name: rng.choice(counts) for name, counts in pruned.items()}
        )

    mixes = [
        CompressionPlan(
            layers=tuple(layer() for _ in range(num_layers)),
            head=rng.choice(formats),
            pruning=pruning,
        )
        for _ in range(mixed)
    ]
    return uniform + mixes
