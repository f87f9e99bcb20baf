"""Tasks by the names a user spells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hwsearch.errors import InputError, UnknownNameError
from hwsearch.tasks.gsm8k import gsm8k, gsm8k_cot
from hwsearch.tasks.task import GSM_MINI, Task


def _gsm_mini(source: str | Path | None) -> Task:
    if source is not None:
        raise InputError(f"gsm-mini generates its problems and reads no path, got {source}")
    return GSM_MINI


#: How each task is made from the place of its problems.
TASKS: dict[str, Callable[[str | Path | None], Task]] = {
    "gsm-mini": _gsm_mini,
    "gsm8k": gsm8k,
    "gsm8k_cot": gsm8k_cot,
}


def load_task(name: str, source: str | Path | None = None) -> Task:
    """A task by name.

    Args:
        name: one of `TASKS`.
        source: where its problems are: a JSONL file, a folder, or None for the task's own place.

    Raises:
        UnknownNameError: no task goes by that name.
        InputError: the problems cannot be read.
    """
    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    return TASKS[name](source)
