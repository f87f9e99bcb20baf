"""From a study's plan to a measured, scored bundle; and from a bundle back to whether it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from hwsearch.decoding.answer import end_token_ids
from hwsearch.jobs.bundle_checks import (
    Check,
    generation_check,
    plain_checks,
    prediction_checks,
    prompt_check,
)
from hwsearch.jobs.evaluation import evaluate_bundle
from hwsearch.latency.timing.answers import Answerer, AnswerTimes, time_answers
from hwsearch.progress import shown
from hwsearch.runtime import Bundle, Runtime
from hwsearch.runtime.probe import ProbeBackend
from hwsearch.runtime.providers import provider_of
from hwsearch.runtime.reference import read_references
from hwsearch.tasks.choice import AskingOptions, TaskChoice, at_quick_look

#: Calibration questions that bundles are timed on.
TIMED_QUESTIONS = 16

#: Mean passes may differ this much from those predicted, beside what few questions leave to chance.
PASSES_TOLERANCE = 0.05

#: Measured latency may differ this much from the predicted one, either way.
LATENCY_TOLERANCE = 0.25


def measure_bundles(
    bundles: Mapping[str, Bundle],
    threads: int,
    *,
    task: TaskChoice | None = None,
    questions: int = TIMED_QUESTIONS,
    rounds: int = 5,
) -> AnswerTimes:
    """Time bundles side by side on the same calibration questions of a task; a quick look asks fewer."""
    task = task or TaskChoice()
    asks, asked = task.asks, task.sample(at_quick_look(questions))
    runtimes = {name: Runtime(bundle, threads) for name, bundle in bundles.items()}
    first = next(iter(runtimes.values()))
    return time_answers(
        {name: _answerer(runtime) for name, runtime in runtimes.items()},
        [first.given(question, asks) for question in asked],
        rounds=rounds,
        threads=threads,
        progress=shown("measuring bundles side by side"),
    )


def _answerer(runtime: Runtime) -> Answerer:
    manifest = runtime.bundle.manifest
    return Answerer(runtime.generation, manifest.decoding, frozenset(end_token_ids(manifest)))


def verify(
    path: Path | str,
    *,
    limit: int = 200,
    threads: int = 1,
    **changes: Unpack[AskingOptions],
) -> list[Check]:
    """Reload a bundle in onnxruntime and hold it against what it says of itself.

    The bundle is right if every check that decides has passed.

    Args:
        path: the bundle's folder.
        limit: test problems to score; 0 scores none.
        threads: threads of onnxruntime.
        changes: what differs of the task it was judged on, such as where its problems are now; see
            `hwsearch.tasks.choice.TaskChoice`.

    Raises:
        VerificationError: a file is missing or was changed, or a graph does not load.
        InputError: there is no bundle, or what runs it is not here.
    """
    runtime = Runtime(path, threads=threads, is_opened=False)
    provider_of(runtime.bundle.manifest.runtime).check()
    references = read_references(runtime.bundle)
    backend = ProbeBackend(runtime.bundle, threads, logits=references is not None)
    checks = [Check("files", True, "unchanged", "every checksum matches bundle.json")]
    if references is not None:
        checks.append(prompt_check(runtime, references))
    checks += prediction_checks(runtime, references, backend)
    checks += plain_checks(runtime, backend)
    checks.append(generation_check(runtime))
    figures = runtime.bundle.manifest.figures
    task = task_of(runtime.bundle, dict(changes))
    if figures.accuracy_interval is not None and limit:
        checks.append(_accuracy(runtime, task, figures.accuracy_interval, limit))
    if figures.predicted_ms is not None and figures.reference_ms is not None:
        checks += _latency(runtime.bundle, task, threads)
    return checks


def task_of(bundle: Bundle, changes: Mapping[str, Any]) -> TaskChoice:
    """The task that a bundle was judged on, with some of it changed."""
    known: dict[str, Any] = dict(bundle.manifest.figures.task or {})
    return TaskChoice(**(known | dict(changes)))


def _accuracy(runtime: Runtime, task: TaskChoice, interval: Sequence[float], limit: int) -> Check:
    found = evaluate_bundle(runtime, task, limit)
    low, high = found.interval
    return Check(
        "accuracy",
        low <= interval[1] and interval[0] <= high,
        f"{found.accuracy:.1%} of {limit} ({low:.1%} to {high:.1%})",
        f"interval overlaps that of the export, {interval[0]:.1%} to {interval[1]:.1%}",
    )


def _latency(bundle: Bundle, task: TaskChoice, threads: int) -> list[Check]:
    """Passes and milliseconds, each apart: measured against predicted.

    Milliseconds are held as multiples of the machine's speed at the time.
    """
    figures = bundle.manifest.figures
    assert figures.predicted_ms is not None and figures.reference_ms is not None
    found = measure_bundles({"bundle": bundle}, threads, task=task, rounds=3)
    measured_ms = found.generation_ms("bundle")
    speed = found.reference_ms / figures.reference_ms
    expected_ms = figures.predicted_ms * speed
    checks = [] if figures.predicted_passes is None else [_passes(found, figures.predicted_passes)]
    return [
        *checks,
        Check(
            "latency",
            abs(measured_ms / expected_ms - 1) <= LATENCY_TOLERANCE,
            f"{measured_ms:.2f} ms, {found.tokens_per_second('bundle'):.0f} tokens/s",
            f"within {LATENCY_TOLERANCE:.0%} of {expected_ms:.2f} ms, predicted "
            f"{figures.predicted_ms:.2f} ms times {speed:.2f} for the machine's speed now",
        ),
    ]


def _passes(found: AnswerTimes, predicted: float) -> Check:
    """Passes of the generations that were timed, against those counted at the export.

    Fewer questions are asked than were counted on, so the mean is given what chance leaves it.
    """
    counts = found.passes["bundle"].array.sum(axis=1)
    mean, count = float(counts.mean()), len(counts)
    chance = 0.0 if count < 2 else 3.0 * float(counts.std(ddof=1)) / math.sqrt(count)
    room = max(PASSES_TOLERANCE * predicted, chance)
    return Check(
        "passes",
        abs(mean - predicted) <= room,
        f"{mean:.2f} a generation",
        f"within {room:.2f} of {predicted:.2f}, which were predicted",
    )
