"""The problems that losses and sinks are calibrated on, and the workload that they stand for."""

from __future__ import annotations

import os
from itertools import islice

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import InputError
from hwsearch.latency.operators import Workload
from hwsearch.tasks.gsm_mini.generator import problems
from hwsearch.tasks.problem import Problem

#: Calibration questions behind the frozen states.
QUESTIONS = 96

#: The first of them calibrate the sinks, which takes a full pass a token: one answer is worth hundreds
#: of positions.
SINK_QUESTIONS = 16

#: And the first of them say how long a prompt is: shipped tables were timed at that length.
MEDIAN_OF = 32

#: The environment's variable that makes calibration questions fewer, wherever gsm-mini's are asked:
#: a quick look, on which nothing should be built.
QUESTIONS_VARIABLE = "HWSEARCH_QUESTIONS"


def calibration_problems(count: int = QUESTIONS) -> list[Problem]:
    """Problems of gsm-mini's calibration split; fewer where the environment says so.

    Raises:
        InputError: the environment's `QUESTIONS_VARIABLE` is no whole number from 1 up.
    """
    return list(islice(problems("calibration"), min(count, most_questions())))


def calibration_questions(count: int = QUESTIONS) -> list[str]:
    """Their questions."""
    return [problem.question for problem in calibration_problems(count)]


def most_questions() -> int:
    """Questions to ask at most, as the environment says. Raises `InputError`."""
    said = os.environ.get(QUESTIONS_VARIABLE, str(QUESTIONS))
    if not (said.isascii() and said.isdigit() and int(said)):
        raise InputError(
            f"the environment's {QUESTIONS_VARIABLE} must be a whole number from 1 up; got {said!r}"
        )
    return int(said)


def default_workload(denoiser: Denoiser) -> Workload:
    """gsm-mini's median prompt, answered as the model's makers decode it."""
    lengths = sorted(
        len(denoiser.prompt(problem.question))
        for problem in islice(problems("calibration"), MEDIAN_OF)
    )
    return Workload(lengths[len(lengths) // 2], denoiser.decoding)
