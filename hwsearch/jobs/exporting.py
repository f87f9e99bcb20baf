"""From a finished study to bundles: the uncompressed model, the best uniform plan, the winner."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hwsearch.bundle import Exporter, exporter_of
from hwsearch.compression import WeightBank, check_fits, compress, own_calibration
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.finite import check_pass, check_weights
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.errors import InfeasibleTargetError
from hwsearch.jobs.evaluation import evaluate_bundle
from hwsearch.jobs.progress import Tracked, untracked
from hwsearch.jobs.verification import measure_bundles
from hwsearch.latency.devices.device import load_device
from hwsearch.latency.timing.bundles import Measurement
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import Bundle, Figures, Runtime, record_figures
from hwsearch.sinks import SinkProfile, calibrate_sinks
from hwsearch.study import Objective, Study, load_study
from hwsearch.study.preparation import (
    SINK_QUESTIONS,
    calibration_questions,
    most_questions,
    reopen,
)
from hwsearch.tasks.evaluation import Evaluation
from hwsearch.tasks.gsm_mini.generator import problems

#: Validation questions whose answers by torch go into a bundle, to compare with later.
REFERENCE_QUESTIONS = 16

#: How many of them those ask that the winner is held against: asking takes longer than the export.
FEW_QUESTIONS = 4

#: Times that plans are measured, and slower ones left, before giving up.
ATTEMPTS = 4


@dataclass(frozen=True, eq=False)
class Contestant:
    """A plan as it was exported, timed and scored.

    Attributes:
        plan: the plan.
        bundle: its bundle.
        predicted_ms: predicted generation time.
        measured_ms: measured generation time.
        evaluation: what it answered to the test problems; None until it was asked.
    """

    plan: CompressionPlan
    bundle: Bundle
    predicted_ms: float
    measured_ms: float
    evaluation: Evaluation | None = None

    def document(self) -> dict[str, Any]:
        """The contestant as plain data."""
        assert self.evaluation is not None, "a contestant is scored before it is shown"
        return {
            "plan": self.plan.model_dump(mode="json"),
            "accuracy": self.evaluation.accuracy,
            "accuracy_interval": list(self.evaluation.interval),
            "problems": len(self.evaluation.problems),
            "predicted_ms": self.predicted_ms,
            "measured_ms": self.measured_ms,
            "size_bytes": self.bundle.size_bytes,
            "bundle": str(self.bundle.path),
        }


class Finisher:
    """Exports, times and scores plans of one objective.

    Args:
        objective: what the study searched.
        threads: threads of the runtime.
        tracked: shows progress.
    """

    def __init__(self, objective: Objective, threads: int, tracked: Tracked = untracked) -> None:
        self.objective = objective
        self.threads = threads
        self.tracked = tracked
        self._exporter = exporter_of(objective.denoiser)

    def export(
        self,
        plan: CompressionPlan,
        out: Path,
        overwrite: bool = True,
        questions: int = REFERENCE_QUESTIONS,
    ) -> Bundle:
        """The bundle of a plan, with its predicted time; without questions it cannot be verified."""
        objective = self.objective
        workload = objective.predictor.workload
        return self._exporter.export(
            objective.workbench.compress(plan),
            objective.workbench.keep(plan).kept,
            out,
            questions=_reference_questions()[:questions],
            figures=Figures(
                predicted_ms=objective.latency(plan).generation_ms,
                target_ms=objective.target_ms,
                device=objective.predictor.device.info.name,
                prompt_length=workload.prompt_length,
            ),
            overwrite=overwrite,
        )

    def measure(self, bundles: Mapping[str, Bundle]) -> Measurement:
        """Time bundles side by side."""
        prompt_length = self.objective.predictor.workload.prompt_length
        return measure_bundles(bundles, prompt_length, self.threads, tracked=self.tracked)

    def score(self, bundle: Bundle, limit: int) -> Evaluation:
        """Score a bundle on gsm-mini's test problems."""
        wait = iter(self.tracked(f"scoring {bundle.path.name}")(range(limit)))

        def advance(count: int) -> None:
            for _ in range(count):
                next(wait, None)

        return evaluate_bundle(Runtime(bundle, self.threads), limit, advance)


def contest(
    finisher: Finisher,
    study: Study,
    ratio: float,
    out: Path,
    limit: int,
    again: Callable[[float], Study] | None = None,
) -> dict[str, Contestant]:
    """Export and time the uncompressed model, the best uniform plan and the winner; score them.

    A plan that is measured above `ratio` times the uncompressed model gives way to one that was
    predicted faster by as much as it missed. The trials of a study crowd below its target, so few
    lie there: `again` may search some more, given the milliseconds to aim at. Where nothing tried is
    predicted to be as fast as the misses ask for, the fastest is taken: a busy machine must not end
    the job. After `ATTEMPTS`, or where there is nothing else to pick, the last picked stand as they
    were measured, within the target or not.

    What torch would answer is only asked in the end, of the three that stay; they are scored side by
    side, on as many processors as there are.
    """
    objective = finisher.objective
    uncompressed = CompressionPlan.uniform(objective.space.num_layers)
    bundles = {"baseline": finisher.export(uncompressed, out / "baseline", questions=0)}
    plans, most_ms = {"baseline": uncompressed}, study.target_ms
    for left in reversed(range(ATTEMPTS)):
        picked = {
            "best_uniform": pick_or_fastest(study, most_ms, uniform=True),
            "winner": pick_or_fastest(study, most_ms),
        }
        new = {name: plan for name, plan in picked.items() if plans.get(name) != plan}
        if not new:
            break
        for name, plan in new.items():
            bundles[name] = finisher.export(plan, out / name.replace("_", "-"), questions=0)
        plans.update(new)
        measured = finisher.measure(bundles)
        target_ms = ratio * measured.generation_ms("baseline")
        missed = [measured.generation_ms(name) / target_ms for name in picked]
        if max(missed) <= 1.0:
            break
        slower = max(objective.latency(plan).generation_ms for plan in picked.values())
        most_ms = min(most_ms, slower) / max(missed)
        if again is not None and left:
            study = again(most_ms)
    for name, plan in plans.items():
        asked = REFERENCE_QUESTIONS if name == "winner" else FEW_QUESTIONS
        bundles[name] = finisher.export(plan, bundles[name].path, questions=asked)
    # not beside the exports: torch's threads and the runtimes' would wait for each other
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        slowest_first = sorted(plans, key=measured.generation_ms, reverse=True)
        waiting = {
            name: pool.submit(
                _scored, finisher, plans[name], bundles[name], measured, target_ms, limit
            )
            for name in slowest_first
        }
        return {name: waiting[name].result() for name in plans}


def pick(study: Study, most_ms: float, uniform: bool | None = None) -> CompressionPlan:
    """The plan of least loss whose predicted time is at most `most_ms`.

    Where the study's best plans were scored, their winner comes before all others.

    Raises:
        InfeasibleTargetError: there is none.
    """
    frame = study.feasible(uniform)
    fitting = frame[frame["generation_ms"] <= most_ms]
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
    plan: CompressionPlan = fitting["plan"].iloc[0]
    return plan


def pick_or_fastest(study: Study, most_ms: float, uniform: bool | None = None) -> CompressionPlan:
    """As `pick`; the fastest plan tried where none is within `most_ms`."""
    try:
        return pick(study, most_ms, uniform)
    except InfeasibleTargetError:
        frame = study.frame()
        tried = frame if uniform is None else frame[frame["uniform"] == uniform]
        plan: CompressionPlan = tried.sort_values(["generation_ms", "loss"])["plan"].iloc[0]
        return plan


def _scored(
    finisher: Finisher,
    plan: CompressionPlan,
    bundle: Bundle,
    measured: Measurement,
    target_ms: float,
    limit: int,
) -> Contestant:
    name = bundle.path.name.replace("-", "_")
    evaluation = finisher.score(bundle, limit)
    measured_ms = measured.generation_ms(name)
    bundle = record_figures(
        bundle.path,
        measured_ms=measured_ms,
        reference_ms=measured.reference_ms,
        target_ms=target_ms,
        accuracy=evaluation.accuracy,
        accuracy_interval=tuple(evaluation.interval),
    )
    predicted_ms = finisher.objective.latency(plan).generation_ms
    return Contestant(plan, bundle, predicted_ms, measured_ms, evaluation)


def export(
    denoiser: Denoiser,
    plan: CompressionPlan,
    out: Path | str,
    *,
    sinks: SinkProfile | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Export any plan of a model as a bundle, neither timed nor scored.

    Args:
        denoiser: the uncompressed model.
        plan: what to do to each layer.
        out: the bundle's folder.
        sinks: turns thresholds into kept shares; None calibrates on gsm-mini's questions if any
            layer has a threshold below 1. Weights are pruned by those questions, too.
        overwrite: replace a folder that is there.

    Raises:
        PlanError: the plan does not fit the model.
        CheckpointError: the model's weights or logits are no finite numbers.
        InputError: `out` exists and `overwrite` is false.
    """
    check_fits(plan, denoiser)
    check_weights(denoiser)
    check_pass(denoiser, _reference_questions()[0])
    prunes = any(layer.prunes for layer in plan.layers)
    weights = own_calibration(denoiser, calibration_questions()) if prunes else None
    compressed = compress(denoiser, plan, WeightBank(denoiser, weights))
    kept = KeptShares.keeping_all(len(plan.layers))
    if any(layer.sink_threshold < 1.0 for layer in plan.layers):
        kept = (
            sinks or calibrate_sinks(denoiser, calibration_questions(SINK_QUESTIONS))
        ).kept_shares(plan)
    return Exporter(denoiser).export(
        compressed, kept, out, questions=_reference_questions(), overwrite=overwrite
    )


def _reference_questions() -> list[str]:
    """Questions of the validation split; a quick look asks fewer, but enough to judge by."""
    count = max(FEW_QUESTIONS, min(REFERENCE_QUESTIONS, most_questions()))
    return [problem.question for problem in islice(problems("validation"), count)]


def export_from_study(
    study_name: str,
    number: int | None,
    out: Path,
    *,
    storage: str | None = None,
    overwrite: bool = False,
    limit: int = 200,
    tracked: Tracked = untracked,
) -> Bundle:
    """Export a plan of a study, timed on this machine and scored.

    Args:
        study_name: name of the study, or the path of its SQLite file.
        number: a trial; None takes the best.
        out: the bundle's folder.
        storage: Optuna storage.
        overwrite: replace a folder that is there.
        limit: test problems to score.
        tracked: shows progress.
    """
    study = load_study(study_name, storage)
    plan = study.best_plan if number is None else study.plan(number)
    record = study.record
    denoiser = load_denoiser(record.kept("model"))
    device = load_device(record.kept("device_folder"))
    objective = reopen(study, denoiser, device, calibration_questions())
    finisher = Finisher(objective, device.info.threads, tracked)
    bundle = finisher.export(plan, out, overwrite)
    measured = finisher.measure({bundle.path.name.replace("-", "_"): bundle})
    return _scored(finisher, plan, bundle, measured, study.target_ms, limit).bundle
