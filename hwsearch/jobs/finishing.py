"""Plans of a study made bundles: exported, timed and scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hwsearch.bundle import exporter_of
from hwsearch.jobs.evaluation import evaluate_bundle
from hwsearch.jobs.verification import measure_bundles
from hwsearch.latency.devices.environment import environment
from hwsearch.latency.prediction.uncertainty import Latency
from hwsearch.latency.timing.answers import AnswerTimes
from hwsearch.plan import CompressionPlan
from hwsearch.progress import work
from hwsearch.runtime import Bundle, Figures, Runtime, record_figures
from hwsearch.runtime.providers import exporting_for
from hwsearch.study import Objective
from hwsearch.study.records.outcome import Outcome
from hwsearch.tasks.choice import REFERENCE_QUESTIONS
from hwsearch.tasks.evaluation import Evaluation


@dataclass(frozen=True, eq=False)
class Contestant:
    """A plan as it was exported, timed and scored.

    Attributes:
        plan: the plan.
        bundle: its bundle.
        predicted: predicted times and passes.
        measured_ms: measured generation time.
        measured_passes: passes of the generations that were timed, in the mean.
        tokens_per_second: tokens of their answers by their time.
        evaluation: what it answered to the test problems; None until it was asked.
    """

    plan: CompressionPlan
    bundle: Bundle
    predicted: Latency
    measured_ms: float
    measured_passes: float
    tokens_per_second: float
    evaluation: Evaluation | None = None

    def document(self) -> dict[str, Any]:
        """The contestant as plain data."""
        assert self.evaluation is not None, "a contestant is scored before it is shown"
        return {
            "plan": self.plan.model_dump(mode="json"),
            "accuracy": self.evaluation.accuracy,
            "accuracy_interval": list(self.evaluation.interval),
            "problems": len(self.evaluation.problems),
            "predicted_ms": self.predicted.generation_ms,
            "measured_ms": self.measured_ms,
            "predicted_passes": sum(self.predicted.passes.values()),
            "measured_passes": self.measured_passes,
            "tokens_per_second": self.tokens_per_second,
            "size_bytes": self.bundle.size_bytes,
            "bundle": str(self.bundle.path),
        }

    def outcome(self, name: str, title: str, target_ms: float, command: str) -> Outcome:
        """What a study keeps of it.

        Args:
            name: see `Outcome`.
            title: the same for people.
            target_ms: what the measured time is held against.
            command: what measured it.
        """
        assert self.evaluation is not None, "a contestant is scored before it is kept"
        ends = self.predicted.intervals_ms
        return Outcome(
            name=name,
            title=title,
            plan=self.plan,
            predicted_ms=self.predicted.generation_ms,
            predicted_10_90_ms=None if ends is None else ends.generation,
            measured_ms=self.measured_ms,
            target_ms=target_ms,
            predicted_passes=sum(self.predicted.passes.values()),
            measured_passes=self.measured_passes,
            tokens_per_second=self.tokens_per_second,
            correct="".join("01"[solved] for solved in self.evaluation.score.correct),
            size_bytes=self.bundle.size_bytes,
            bundle=str(self.bundle.path),
            command=command,
            environment=environment(),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        )


class Finisher:
    """Exports, times and scores plans of one objective.

    Args:
        objective: what the study searched.
        threads: threads of the runtime.
    """

    def __init__(self, objective: Objective, threads: int) -> None:
        self.objective = objective
        self.threads = threads
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
        workload, latency = objective.predictor.workload, objective.latency(plan)
        behind: dict[str, Any] = {}
        if workload.suffix_length:
            behind["suffix_length"] = workload.suffix_length
        return self._exporter.export(
            objective.workbench.compress(plan),
            objective.workbench.keep(plan).kept,
            out,
            questions=objective.task.reference_questions()[:questions],
            figures=Figures(
                predicted_ms=latency.generation_ms,
                predicted_passes=sum(latency.passes.values()),
                target_ms=objective.target_ms,
                task=objective.task.model_dump(exclude_defaults=True),
                device=objective.predictor.device.info.name,
                prompt_length=workload.prompt_length,
                **behind,
            ),
            provider=exporting_for(objective.predictor.device.info.runtime),
            overwrite=overwrite,
        )

    def measure(self, bundles: Mapping[str, Bundle]) -> AnswerTimes:
        """Time bundles side by side."""
        return measure_bundles(bundles, self.threads, task=self.objective.task)

    def score(self, bundle: Bundle, limit: int) -> Evaluation:
        """Score a bundle on the task's test problems."""
        runtime = Runtime(bundle, self.threads)
        with work(f"scoring {bundle.path.name}", limit) as advance:
            return evaluate_bundle(runtime, self.objective.task, limit, advance)


def scored(
    finisher: Finisher,
    plan: CompressionPlan,
    bundle: Bundle,
    measured: AnswerTimes,
    target_ms: float,
    limit: int,
) -> Contestant:
    """A bundle scored on test problems; its figures are written into it."""
    name = bundle.path.name.replace("-", "_")
    evaluation = finisher.score(bundle, limit)
    measured_ms, passes = measured.generation_ms(name), measured.passes[name].total
    bundle = record_figures(
        bundle.path,
        measured_ms=measured_ms,
        measured_passes=passes,
        reference_ms=measured.reference_ms,
        target_ms=target_ms,
        accuracy=evaluation.accuracy,
        accuracy_interval=tuple(evaluation.interval),
    )
    speed, predicted = measured.tokens_per_second(name), finisher.objective.latency(plan)
    return Contestant(plan, bundle, predicted, measured_ms, passes, speed, evaluation)
