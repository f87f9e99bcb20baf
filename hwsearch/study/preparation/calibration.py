"""The workload that a task's calibration questions stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hwsearch.denoisers.chat.asking import Infilling, Question
from hwsearch.denoisers.described import Asked
from hwsearch.latency.operators import Workload
from hwsearch.tasks.choice import TaskChoice

#: The first calibration questions calibrate the sinks, which takes a full pass a token: one answer is
#: worth hundreds of positions.
SINK_QUESTIONS = 16

#: And the first of them say how long a prompt is: shipped tables were timed at that length.
MEDIAN_OF = 32


def default_workload(denoiser: Asked, task: TaskChoice | None = None) -> Workload:
    """A task's median prompt and suffix, answered as the model's makers decode it.

    Args:
        denoiser: the model, with weights or without.
        task: whose calibration questions; None is the default task. How long a prompt is does not
            depend on how few questions are calibrated on.
    """
    task = task or TaskChoice()
    asked = task.asking(denoiser)
    given = [asked.given(question) for question in task.sample(MEDIAN_OF)]
    return Workload(
        _median(len(one.prompt) for one in given),
        denoiser.decoding,
        suffix_length=_median(len(one.suffix) for one in given),
    )


def prompted_workload(
    denoiser: Asked, prompt_length: int, questions: Sequence[Question]
) -> Workload:
    """A prompt of some length and the median suffix of some questions, answered likewise."""
    suffixes = [Infilling.of(question).suffix for question in questions[:MEDIAN_OF]]
    behind = _median(len(denoiser.suffix(text)) for text in suffixes)
    return Workload(prompt_length, denoiser.decoding, suffix_length=behind)


def _median(lengths: Iterable[int]) -> int:
    """The upper of the two in the middle, where there are two."""
    ordered = sorted(lengths)
    return ordered[len(ordered) // 2]
