"""Record how a model's sinks move, beside another model or alone, and write it down."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from tokenizers import Tokenizer

from hwsearch.decoding.batches import Given, groups_of_equal_length
from hwsearch.denoisers.chat.asking import Asks, Question
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.finite import check_pass
from hwsearch.denoisers.loading.options import ModelOptions
from hwsearch.errors import InputError
from hwsearch.files.whole_files import whole_files
from hwsearch.report.sinks import (
    SinkMeasures,
    draw_sinks,
    findings,
    in_words,
    measure_sinks,
    write_page,
)
from hwsearch.runtime import Runtime
from hwsearch.runtime.bundle import BUNDLE_FILE
from hwsearch.sinks import record_bundle, record_sinks
from hwsearch.sinks.formulas import TOP_K
from hwsearch.tasks.choice import TaskChoice, TaskOptions

#: Files that `study_sinks` writes, beside the pictures.
DATA_FILE, PAGE_FILE = "sinks.json", "sinks.html"


def study_sinks(
    model: str | Denoiser,
    out: Path,
    *,
    against: str | Denoiser | None = None,
    questions: Sequence[Question] | None = None,
    count: int = 32,
    k: float = TOP_K,
    options: ModelOptions | None = None,
    progress: Callable[[int], None] | None = None,
    **changes: Unpack[TaskOptions],
) -> dict[str, Any]:
    """Write pictures, a page and every figure into a folder; sinks in words as plain data.

    Keys of what is returned: ``sinks`` (for each model what `in_words` says: where, how much, how
    stable), ``findings`` (the claims of the paper, answered) and ``page``.

    Args:
        model: a model, its name, or the folder of a bundle that hands out attention mass.
        out: the folder.
        against: another, asked the same questions.
        questions: what to ask, before a task words it; None takes the task's calibration problems.
        count: questions at most.
        k: sinks of a pass: a whole number, or a share of the positions below 1.
        options: how models are loaded that are given by name.
        progress: called with the number of questions just recorded.
        changes: the task; see `hwsearch.tasks.choice.TaskChoice`.

    Raises:
        InputError: a model offers no attention, there are no questions, or `k` is out of range.
    """
    task = TaskChoice(**changes)
    asked = task.sample(count) if questions is None else task.word(questions[:count])
    if not asked:
        raise InputError("recording sinks needs at least one question; none are given")
    subjects = [model] if against is None else [model, against]
    measured, words = [], []
    for subject in subjects:
        loaded = _loaded(subject, options or ModelOptions(), task)
        measures, text_of = _measure(loaded, asked, k, task.asks, progress)
        measured.append(measures)
        words.append(in_words(measures, text_of))
    found = findings(measured[0], None if against is None else measured[1])
    said = {"sinks": words, "findings": [finding.document() for finding in found]}
    document = {**said, "models": [measures.document() for measures in measured]}
    with whole_files(out) as fresh:
        (fresh / DATA_FILE).write_text(json.dumps(document) + "\n", encoding="utf-8")
        write_page(fresh / PAGE_FILE, measured, found, draw_sinks(measured, fresh), words)
    return {**said, "page": str(out / PAGE_FILE)}


def _loaded(subject: str | Denoiser, options: ModelOptions, task: TaskChoice) -> Runtime | Denoiser:
    """A bundle, or a model asked as the task says."""
    if not isinstance(subject, str):
        return task.asking(subject)
    if (Path(subject) / BUNDLE_FILE).is_file():
        return Runtime(subject, threads=1)
    task.check()  # before a model is read
    return task.asking(options.load(subject))


def _measure(
    subject: Runtime | Denoiser,
    questions: Sequence[Question],
    k: float,
    asks: Asks,
    progress: Callable[[int], None] | None,
) -> tuple[SinkMeasures, Callable[[int], str]]:
    """Measures of a model or bundle, and what tells the text of its tokens."""
    if isinstance(subject, Runtime):
        recorded = record_bundle(subject, questions, k=k, keep_passes=True, asks=asks)
        measures = measure_sinks(subject.bundle.path.name, False, recorded)
        return measures, partial(_text, subject.tokenizer)
    denoiser = subject
    check_pass(denoiser, questions[0])
    recorded = record_sinks(denoiser, questions, k=k, keep_passes=True, progress=progress)
    causal = denoiser.is_causal
    measures = measure_sinks(denoiser.name, causal, recorded)
    prompts = [denoiser.given(question) for question in questions]
    return _in_order(measures, prompts), partial(_text, denoiser.tokenizer)


def _text(tokenizer: Tokenizer, token: int) -> str:
    """Text of a token; its name where it has no text of its own, as parts of a character have none."""
    text = str(tokenizer.decode([token], skip_special_tokens=False))
    if not text or "\ufffd" in text:
        return str(tokenizer.id_to_token(token) or f"token {token}")
    return text


def _in_order(measures: SinkMeasures, prompts: Sequence[Given]) -> SinkMeasures:
    """The same, problems in the order in which they were asked, so that models can be paired."""
    from dataclasses import replace

    import numpy as np

    order = np.argsort([i for group in groups_of_equal_length(prompts, 8) for i in group])
    names = (
        "concentration",
        "spatial",
        "temporal",
        "overlap",
        "drift",
        "variance",
        "centres",
        "even",
        "lengths",
    )
    return replace(measures, **{name: getattr(measures, name)[order] for name in names})


def recorded_questions(path: Path) -> list[Question]:
    """Questions of a GSM8K-style JSONL file. Raises `InputError` as `read_problems` does."""
    from hwsearch.tasks.problem import read_problems

    return [problem.asked for problem in read_problems(path)]
