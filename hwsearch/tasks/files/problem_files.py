"""The task ``problems``: a user's own problems from JSONL, asked by the model's own template.

A folder holds ``train.jsonl``, whose first problems calibrate and whose last ones validate, and
``test.jsonl``. One file is dealt out, so that no problem serves two ends: of each five in file order
two calibrate, one validates and two test.
"""

from __future__ import annotations

from pathlib import Path

from hwsearch.errors import InputError, UnknownNameError
from hwsearch.tasks.problem import Problem, half_of, read_problems
from hwsearch.tasks.task import Task

#: The split of each of five problems in a file.
DEALT = ("calibration", "test", "validation", "calibration", "test")

SPLITS = ("calibration", "validation", "test")


def problem_files(source: str | Path | None) -> Task:
    """The task of a file or folder of problems with answers that end in ``#### `` and a number.

    Raises:
        InputError: no place is given, or there is no such file or folder.
    """
    if source is None or not Path(source).exists():
        said = "none is given" if source is None else f"{source} does not exist"
        raise InputError(
            f"task problems needs the place of its problems, a JSONL file or a folder with train.jsonl "
            f"and test.jsonl; {said}: give --task-path"
        )
    path = Path(source)

    def read(split: str, count: int, seed: int) -> list[Problem]:
        del seed
        found = dealt(path, split)[:count]
        if not found:
            raise InputError(
                f"{path} holds too few problems to spare any for {split}; give 5 or more"
            )
        return found

    return Task(name="problems", problems=read)


def dealt(path: Path, split: str) -> list[Problem]:
    """Problems of a split. Raises `InputError` or `UnknownNameError`."""
    if split not in SPLITS:
        raise UnknownNameError("split of problems", split, SPLITS)
    if path.is_dir():
        if split == "test":
            return read_problems(path / "test.jsonl")
        return half_of(read_problems(path / "train.jsonl"), split)
    found = read_problems(path)
    return [problem for index, problem in enumerate(found) if DEALT[index % len(DEALT)] == split]
