"""Tasks by the names a user spells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwsearch.errors import InputError, UnknownNameError
from hwsearch.own import is_own, own_object
from hwsearch.tasks.files.problem_files import problem_files
from hwsearch.tasks.gsm8k import gsm8k, gsm8k_cot
from hwsearch.tasks.problem import Problem
from hwsearch.tasks.task import GSM_MINI, Task

#: The task that is meant where none is named.
DEFAULT_TASK = GSM_MINI.name

Source = str | Path | None


@dataclass(frozen=True)
class Shown:
    """Solved problems to show before each question.

    Attributes:
        problems: to draw them from; None takes the task's own.
        count: how many; None is the task's own number.
    """

    problems: Sequence[Problem] | None = None
    count: int | None = None

    @property
    def is_asked_for(self) -> bool:
        """Whether the user says anything of shots."""
        return self.problems is not None or bool(self.count)


def _gsm_mini(source: Source, shown: Shown) -> Task:
    if source is not None:
        raise InputError(
            f"gsm-mini generates its problems and reads no path, got {source}; "
            "--task problems reads some"
        )
    if shown.is_asked_for:
        raise InputError("gsm-mini is asked without shots; leave them out, or take task gsm8k")
    return GSM_MINI


def _gsm8k(source: Source, shown: Shown) -> Task:
    return gsm8k(source, shown.problems, 5 if shown.count is None else shown.count)


def _gsm8k_cot(source: Source, shown: Shown) -> Task:
    return gsm8k_cot(source, shown.problems, 8 if shown.count is None else shown.count)


def _problem_files(source: Source, shown: Shown) -> Task:
    if shown.is_asked_for:
        raise InputError("task problems is asked without shots; leave them out, or take task gsm8k")
    return problem_files(source)


#: How each task is made from the place of its problems, and solved problems to show before.
TASKS: dict[str, Callable[[Source, Shown], Task]] = {
    "gsm-mini": _gsm_mini,
    "gsm8k": _gsm8k,
    "gsm8k_cot": _gsm8k_cot,
    "problems": _problem_files,
}


def load_task(
    name: str,
    source: Source = None,
    shots: Sequence[Problem] | None = None,
    num_shots: int | None = None,
) -> Task:
    """A task by name.

    Args:
        name: one of `TASKS`, or ``package.module:function``: a function that makes a `Task` from `source`.
        source: where its problems are: a JSONL file, a folder, or None for the task's own place.
        shots: solved problems to show before each question: gsm8k draws from them, gsm8k_cot shows
            them as they are; None takes the task's own.
        num_shots: how many are shown; None is the task's own number.

    Raises:
        UnknownNameError: no task goes by that name.
        InputError: the problems cannot be read, or the function cannot be found or makes no task.
    """
    if is_own(name):
        task = own_object(name)(source)
        if not isinstance(task, Task):
            raise InputError(f"{name} must return a hwsearch.tasks.Task; got {type(task).__name__}")
        return task
    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    return TASKS[name](source, Shown(shots, num_shots))
