"""The uncompressed model, the best uniform plan and the winner, side by side on this machine."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from hwsearch.errors import InfeasibleTargetError
from hwsearch.jobs.demo.waterfall import TITLES, stages
from hwsearch.jobs.finishing import Contestant, Finisher, scored
from hwsearch.latency.timing.answers import AnswerTimes
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import Bundle
from hwsearch.study import Study
from hwsearch.tasks.choice import FEW_QUESTIONS, REFERENCE_QUESTIONS

#: Times that plans are measured, and slower ones left, before giving up.
ATTEMPTS = 4

#: Nats that a plan may lose more than the one that was picked first and missed the target. A little time is
#: not worth a decoding that gets answers wrong.
ALLOWED = 0.01

#: What is picked shall be measured within so much of the target. All of it is measured once more in the end,
#: and what just met the target would miss it then every other time.
AIM = 0.97


def contest(
    finisher: Finisher,
    study: Study,
    ratio: float,
    out: Path,
    limit: int,
    again: Callable[[float], Study] | None = None,
) -> dict[str, Contestant]:
    """Export and time the uncompressed model, the best uniform plan and the winner; score them.

    A plan that is measured above `AIM` of `ratio` times the uncompressed model gives way to one that was
    predicted faster by as much as it missed. The trials of a study crowd below its target, so few
    lie there: `again` may search some more, given the milliseconds to aim at. Where nothing tried is
    predicted to be as fast as the misses ask for, the fastest is taken: a busy machine must not end
    the job. What loses `ALLOWED` more than the first that was picked is never taken for it. After
    `ATTEMPTS`, or where there is nothing else to pick, the last picked stand as they were measured,
    within the target or not; but where the best uniform plan meets the target and the winner does not,
    the best uniform plan wins.

    Between the uncompressed model and the winner stand the levers of the winner's decoding, one after
    the other (`hwsearch.jobs.demo.waterfall`); all are timed once more, side by side. What torch would answer
    is only asked in the end, of those that stay; they are scored side by side, on as many processors as
    there are.
    """
    objective = finisher.objective
    uncompressed = CompressionPlan.uniform(objective.space.num_layers)
    bundles = {"baseline": finisher.export(uncompressed, out / "baseline", questions=0)}
    plans, most_ms = {"baseline": uncompressed}, study.target_ms
    most_loss: dict[str, float] = {}
    for left in reversed(range(ATTEMPTS)):
        picked = {}
        for name, uniform in (("best_uniform", True), ("winner", None)):
            row = pick_or_fastest(study, most_ms, uniform, most_loss.get(name, math.inf))
            picked[name] = row["plan"]
            most_loss.setdefault(name, row["loss"] + ALLOWED)
        new = {name: plan for name, plan in picked.items() if plans.get(name) != plan}
        if not new:
            break
        for name, plan in new.items():
            bundles[name] = finisher.export(plan, out / name.replace("_", "-"), questions=0)
        plans.update(new)
        measured = finisher.measure(bundles)
        target_ms = ratio * measured.generation_ms("baseline")
        missed = [measured.generation_ms(name) / (AIM * target_ms) for name in picked]
        if max(missed) <= 1.0:
            break
        slower = max(objective.latency(plan).generation_ms for plan in picked.values())
        most_ms = min(most_ms, slower) / max(missed)
        if again is not None and left:
            study = again(most_ms)
    measured = _timed(finisher, plans, bundles, out)
    target_ms = ratio * measured.generation_ms("baseline")
    if measured.generation_ms("best_uniform") <= target_ms < measured.generation_ms("winner"):
        plans["winner"] = plans["best_uniform"]
        bundles["winner"] = finisher.export(plans["winner"], out / "winner", questions=0)
        measured = _timed(finisher, plans, bundles, out)
        target_ms = ratio * measured.generation_ms("baseline")
    for name, plan in plans.items():
        asked = REFERENCE_QUESTIONS if name == "winner" else FEW_QUESTIONS
        bundles[name] = finisher.export(plan, bundles[name].path, questions=asked)
    return _side_by_side(finisher, plans, bundles, measured, target_ms, limit)


def _timed(
    finisher: Finisher,
    plans: dict[str, CompressionPlan],
    bundles: dict[str, Bundle],
    out: Path,
) -> AnswerTimes:
    """Times of all side by side, the levers of the winner's decoding among them, which are added."""
    makers = finisher.objective.denoiser.decoding
    for name in plans.keys() - {"baseline", "best_uniform", "winner"}:
        del plans[name], bundles[name]
    for name, plan in stages(plans["baseline"], plans["winner"].decoding, makers):
        plans[name] = plan
        bundles[name] = finisher.export(plan, out / name, questions=0)
    return finisher.measure(bundles)


def _side_by_side(
    finisher: Finisher,
    plans: Mapping[str, CompressionPlan],
    bundles: Mapping[str, Bundle],
    measured: AnswerTimes,
    target_ms: float,
    limit: int,
) -> dict[str, Contestant]:
    """All of them scored, on as many processors as there are."""
    # not beside the exports: torch's threads and the runtimes' would wait for each other
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        slowest_first = sorted(plans, key=measured.generation_ms, reverse=True)
        waiting = {
            name: pool.submit(
                scored, finisher, plans[name], bundles[name], measured, target_ms, limit
            )
            for name in slowest_first
        }
        return {name: waiting[name].result() for name in TITLES if name in waiting}


def pick(
    study: Study, most_ms: float, uniform: bool | None = None, most_loss: float = math.inf
) -> pd.Series:
    """The trial of least loss, `most_loss` at most, whose predicted time is at most `most_ms`.

    Where the study's best plans were scored, their winner comes before all others.

    Raises:
        InfeasibleTargetError: there is none.
    """
    frame = study.feasible(uniform)
    fitting = frame[(frame["generation_ms"] <= most_ms) & (frame["loss"] <= most_loss)]
    if fitting.empty:
        fastest = study.frame()["generation_ms"].min()
        kind = "uniform plan" if uniform else "plan"
        raise InfeasibleTargetError(
            f"study {study.name}: no {kind} tried is within {most_ms:.2f} ms (the fastest takes "
            f"{fastest:.2f} ms); run more trials or raise the target"
        )
    if uniform is None and study.finalists is not None:
        won = fitting[fitting["number"] == study.finalists["winner"]]
        fitting = fitting if won.empty else won
    return fitting.iloc[0]


def pick_or_fastest(
    study: Study, most_ms: float, uniform: bool | None = None, most_loss: float = math.inf
) -> pd.Series:
    """As `pick`; the fastest trial of at most that loss where none is within `most_ms`."""
    try:
        return pick(study, most_ms, uniform, most_loss)
    except InfeasibleTargetError:
        frame = study.frame()
        tried = frame[frame["loss"] <= most_loss]
        tried = tried if uniform is None else tried[tried["uniform"] == uniform]
        return tried.sort_values(["generation_ms", "loss"]).iloc[0]
