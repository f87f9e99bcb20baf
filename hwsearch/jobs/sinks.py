"""Record how a model's sinks move, beside another model or alone, and write it down."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hwsearch.decoding.batches import groups_of_equal_length
from hwsearch.denoisers.loading import load_denoiser
from hwsearch.errors import InputError
from hwsearch.report.sinks import (
    Finding,
    SinkMeasures,
    draw_sinks,
    findings,
    measure_sinks,
    write_page,
)
from hwsearch.runtime import Runtime
from hwsearch.runtime.bundle import BUNDLE_FILE
from hwsearch.sinks import record_bundle, record_sinks
from hwsearch.sinks.formulas import TOP_K
from hwsearch.tasks.gsm_mini import problems

#: Files that `study_sinks` writes, beside the pictures.
DATA_FILE, PAGE_FILE = "sinks.json", "sinks.html"


def study_sinks(
    model: str,
    out: Path,
    *,
    against: str | None = None,
    questions: Sequence[str] | None = None,
    count: int = 32,
    k: float = TOP_K,
    torch_device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Write pictures, a page and every figure into a folder; the findings as plain data.

    Args:
        model: a model, or the folder of a bundle that hands out attention mass.
        out: the folder.
        against: another, asked the same questions.
        questions: what to ask; None takes gsm-mini's calibration problems.
        count: questions at most.
        k: sinks of a pass: a whole number, or a share of the positions below 1.
        torch_device: where models run.
        progress: called with the number of questions just recorded.

    Raises:
        InputError: a model offers no attention, there are no questions, or `k` is out of range.
    """
    asked = list(questions)[:count] if questions is not None else _questions(count)
    if not asked:
        raise InputError("recording sinks needs at least one question; none are given")
    names = [model] if against is None else [model, against]
    measured = [_measure(name, asked, k, torch_device, progress) for name in names]
    found = findings(measured[0], measured[1] if against else None)
    out.mkdir(parents=True, exist_ok=True)
    document = _document(measured, found)
    (out / DATA_FILE).write_text(json.dumps(document) + "\n", encoding="utf-8")
    write_page(out / PAGE_FILE, measured, found, draw_sinks(measured, out))
    return {"findings": document["findings"], "page": str(out / PAGE_FILE)}


def _questions(count: int) -> list[str]:
    stream = problems("calibration")
    return [next(stream).question for _ in range(count)]


def _measure(
    name: str,
    questions: Sequence[str],
    k: float,
    torch_device: str,
    progress: Callable[[int], None] | None,
) -> SinkMeasures:
    if (Path(name) / BUNDLE_FILE).is_file():
        runtime = Runtime(name, threads=1)
        recorded = record_bundle(runtime, questions, k=k, keep_passes=True)
        return measure_sinks(Path(name).name, False, recorded)
    denoiser = load_denoiser(name, device=torch_device)
    recorded = record_sinks(denoiser, questions, k=k, keep_passes=True, progress=progress)
    measures = measure_sinks(denoiser.name, denoiser.geometry.causal, recorded)
    return _in_order(measures, [denoiser.prompt(question) for question in questions])


def _in_order(measures: SinkMeasures, prompts: Sequence[Sequence[int]]) -> SinkMeasures:
    """The same, problems in the order in which they were asked, so that models can be paired."""
    from dataclasses import replace

    import numpy as np

    order = np.argsort([i for group in groups_of_equal_length(prompts, 8) for i in group])
    names = ("concentration", "spatial", "temporal", "overlap", "drift", "variance", "centres")
    return replace(measures, **{name: getattr(measures, name)[order] for name in names})


def _document(measured: Sequence[SinkMeasures], found: Sequence[Finding]) -> dict[str, Any]:
    return {
        "models": [measures.document() for measures in measured],
        "findings": [finding.document() for finding in found],
    }


def recorded_questions(path: Path) -> list[str]:
    """Questions of a GSM8K-style JSONL file. Raises `InputError` as `read_problems` does."""
    from hwsearch.tasks.problem import read_problems

    return [problem.question for problem in read_problems(path)]
