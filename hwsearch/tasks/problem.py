"""A problem: the pair of texts that GSM8K's JSONL lines hold, and the text behind a blank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwsearch.denoisers.chat.asking import Infilling, Question
from hwsearch.errors import InputError
from hwsearch.tasks.files.jsonl import read_jsonl


@dataclass(frozen=True)
class Problem:
    """One word problem.

    Attributes:
        question: the text a model is given.
        answer: the worked solution; its last line is ``####`` and the number.
        suffix: the text that a model is given behind the blank that its answer fills; empty where text
            ends with the answer.
    """

    question: str
    answer: str
    suffix: str = ""

    @classmethod
    def of(cls, question: Question) -> Problem:
        """A question whose answer is not known."""
        both = Infilling.of(question)
        return cls(both.question, "", both.suffix)

    @property
    def asked(self) -> Question:
        """What a model is given of it: the question, with its suffix where it has one."""
        return Infilling(self.question, self.suffix).shortest


def read_problems(path: Path) -> list[Problem]:
    """Problems of a GSM8K-style JSONL file, in file order; see `read_jsonl` for what is a line.

    A line may hold the text ``suffix``, too; other keys are passed over.

    Raises:
        InputError: the file cannot be read or holds no problem, or a line is not an object with the
            texts ``question`` and ``answer``, or its ``suffix`` is no text; the message names the line.
    """
    problems = [_problem(record, where) for where, record in read_jsonl(path)]
    if not problems:
        raise InputError(
            f'{path} holds no problems; it needs a line with "question" and "answer" for each'
        )
    return problems


def read_questions(path: Path) -> list[Problem]:
    """Problems of a JSONL file whose answers may be left out; the answer is "" there.

    Raises as `read_problems`.
    """
    questions = [_problem({"answer": "", **record}, where) for where, record in read_jsonl(path)]
    if not questions:
        raise InputError(f'{path} holds no questions; it needs a line with "question" for each')
    return questions


def half_of(train: Sequence[Problem], split: str) -> list[Problem]:
    """The first half of a train split to calibrate on, or its second from the end to validate by."""
    middle = -(-len(train) // 2)
    return list(train[:middle]) if split == "calibration" else list(train[middle:])[::-1]


def _problem(record: dict[str, object], where: str) -> Problem:
    question, answer = (_text(record, key, where) for key in ("question", "answer"))
    return Problem(question, answer, read_suffix(record, where))


def read_suffix(record: dict[str, object], where: str) -> str:
    """The text behind the blank in a line of JSONL; empty if left out. Raises `InputError`: it is no text."""
    suffix = record.get("suffix", "")
    if not isinstance(suffix, str):
        raise InputError(
            f'{where}: "suffix" is the text behind the blank; it is of type {type(suffix).__name__}, '
            "put it in quotes or leave it out"
        )
    return suffix


def _text(record: dict[str, object], key: str, where: str) -> str:
    rule = f'{where}: a problem is a JSON object with texts "question" and "answer"'
    if key not in record:
        raise InputError(f'{rule}; "{key}" is missing')
    value = record[key]
    if not isinstance(value, str):
        raise InputError(f'{rule}; "{key}" is of type {type(value).__name__}, put it in quotes')
    return value
