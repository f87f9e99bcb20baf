"""How fast a bundle answers questions on this machine, and by how many passes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwsearch.denoisers.chat.asking import Asks, Infilling, Question
from hwsearch.errors import InputError
from hwsearch.progress import shown
from hwsearch.runtime import Runtime
from hwsearch.runtime.timing import GenerationTimes, time_generations
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.files.jsonl import read_jsonl
from hwsearch.tasks.problem import read_suffix


def benchmark_questions(
    runtime: Runtime, path: Path | None = None, problems: int | None = None
) -> list[Question]:
    """Questions to time a bundle with: of a file, of gsm-mini's validation problems, or its own.

    Args:
        runtime: the bundle.
        path: a JSONL file whose lines hold a text ``question``, and may hold a text ``suffix`` behind its
            answer; other keys are passed over.
        problems: so many validation problems of gsm-mini.

    Raises:
        InputError: both are given, the file holds no questions, or neither is given and the bundle
            was exported without questions.
    """
    if path is not None and problems is not None:
        raise InputError("give a file of questions or a number of problems, not both")
    if path is not None:
        return _read_questions(path)
    if problems is not None:
        return [problem.asked for problem in TaskChoice().of_split("validation", problems)]
    own = [reference.asked for reference in runtime.bundle.manifest.reference]
    if not own:
        raise InputError(
            f"bundle {runtime.bundle.path} holds no questions of its own; give some by --questions "
            "FILE, or --problems N for the default task's"
        )
    return own


def benchmark(
    runtime: Runtime,
    questions: Sequence[Question],
    *,
    rounds: int = 3,
    plain: bool = False,
) -> GenerationTimes:
    """Time a bundle while it answers questions.

    Args:
        runtime: the bundle.
        questions: what to ask.
        rounds: times that each is asked.
        plain: leave a chat template aside.

    Raises:
        InputError: there are no questions or no rounds.
        CheckpointError: the bundle's chat template refuses a question.
    """
    asks: Asks = "template" if plain or runtime.chat is None else "chat"
    return time_generations(
        runtime,
        [runtime.given(question, asks) for question in questions],
        rounds=rounds,
        progress=shown("answering questions"),
    )


def _read_questions(path: Path) -> list[Question]:
    questions: list[Question] = []
    for where, record in read_jsonl(path):
        question = record.get("question")
        if not isinstance(question, str):
            raise InputError(f'{where}: a line must be an object with a text "question"')
        questions.append(Infilling(question, read_suffix(record, where)).shortest)
    if not questions:
        raise InputError(f'{path} holds no questions; it needs a line with "question" for each')
    return questions
