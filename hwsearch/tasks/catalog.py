"""Tasks by the names a user spells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hwsearch.errors import InputError, UnknownNameError
from hwsearch.tasks.gsm8k import gsm8k, gsm8k_cot
from hwsearch.tasks.problem import Problem
from hwsearch.tasks.task import GSM_MINI, Task

Source = str | Path | None
Shots = Sequence[Problem] | None


def _gsm_mini(source: Source, shots: Shots) -> Task:
    if source is not None:
        raise InputError(f"gsm-mini generates its problems and reads no path, got {source}")
    if shots is not None:
        raise InputError("gsm-mini is asked without shots; leave them out, or take task gsm8k")
    return GSM_MINI


#: How each task is made from the place of its problems, and solved problems to show before.
TASKS: dict[str, Callable[[Source, Shots], Task]] = {
    "gsm-mini": _gsm_mini,
    "gsm8k": gsm8k,
    "gsm8k_cot": gsm8k_cot,
}


def load_task(name: str, source: Source = None, shots: Shots = None) -> Task:
    """A task by name.

    Args:
        name: one of `TASKS`.
        source: where its problems are: a JSONL file, a folder, or None for the task's own place.
        shots: solved problems to show before each question: gsm8k draws from them, gsm8k_cot shows
            them as they are; None takes the task's own.

    Raises:
        UnknownNameError: no task goes by that name.
        InputError: the problems cannot be read.
    """
    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    return TASKS[name](source, shots)
