"""What a model is judged on, as one value for Python, study files and flags: a task and how it is asked.

Its problems serve three ends, and no problem serves two of them: ``calibration`` is what losses and
sinks are made from, ``validation`` is what finalists and references are asked, ``test`` is the score.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, TypeVar

from pydantic import Field

from hwsearch.decoding.backend import Backend
from hwsearch.denoisers.chat.asking import Asks, Question
from hwsearch.errors import InputError
from hwsearch.schema import Keywords
from hwsearch.tasks.catalog import DEFAULT_TASK, load_task
from hwsearch.tasks.evaluation import Evaluation, Prompted, evaluate, prompt_text
from hwsearch.tasks.problem import Problem, read_problems, read_questions
from hwsearch.tasks.task import Task

if TYPE_CHECKING:
    from hwsearch.denoisers.denoiser import Denoiser
    from hwsearch.denoisers.described import Asked
    from hwsearch.denoisers.forecasts import ForecastFitter

#: A model, with weights or without.
ModelT = TypeVar("ModelT", bound="Asked")

#: Calibration problems behind the frozen states, unless a choice says otherwise.
QUESTIONS = 96

#: The environment's variable that makes calibration questions fewer: a quick look, on which nothing
#: should be built.
QUESTIONS_VARIABLE = "HWSEARCH_QUESTIONS"

#: Validation questions whose answers by torch go into a bundle, to compare with later.
REFERENCE_QUESTIONS = 16

#: The fewest of them, however quick the look: enough to judge by.
FEW_QUESTIONS = 4


class AskingOptions(TypedDict, total=False):
    """Keywords of `TaskChoice` that say what is asked, and how."""

    task: str
    task_path: str | None
    shots: str | None
    num_shots: int | None
    apply_chat_template: bool
    calibration: str | None


class TaskOptions(AskingOptions, total=False):
    """Keywords of `TaskChoice`."""

    limit: int | None


class TaskChoice(Keywords):
    """A task, where its problems are, and how they are asked.

    Attributes:
        task: one of `hwsearch.tasks.catalog.TASKS`, or ``package.module:function`` that makes a `Task`.
        task_path: where its problems are: a JSONL file, a folder, or a hub id; None is the task's own
            place.
        shots: a JSONL file of solved problems to show before each question.
        num_shots: how many are shown; None is the task's own number.
        apply_chat_template: whether questions are messages of a user, in the model's own template.
        calibration: a JSONL file of questions, or of problems, to calibrate on; None takes the task's.
        limit: calibration questions at most; None is `QUESTIONS`.

    >>> TaskChoice().calibration_problems(1)[0].answer.splitlines()[-1][:5]
    '#### '
    """

    task: str = DEFAULT_TASK
    task_path: str | None = None
    shots: str | None = None
    num_shots: Annotated[int, Field(ge=0)] | None = None
    apply_chat_template: bool = False
    calibration: str | None = None
    limit: Annotated[int, Field(ge=1)] | None = None

    @property
    def judged(self) -> TaskChoice:
        """These settings alone, where they are part of more."""
        return TaskChoice(**{name: getattr(self, name) for name in TaskChoice.model_fields})

    @property
    def words(self) -> str:
        """What is asked, and how, in a few words.

        >>> TaskChoice(task="gsm8k", num_shots=0, apply_chat_template=True).words
        'gsm8k, 0 shots, by the chat template'
        """
        shots = [] if self.num_shots is None else [f"{self.num_shots} shots"]
        return ", ".join([self.task, *shots, *["by the chat template"] * self.apply_chat_template])

    @property
    def loaded(self) -> Task:
        """The task. Raises `UnknownNameError` or `InputError` as `load_task`."""
        return _loaded(self.judged)

    def check(self) -> None:
        """See that there is such a task, before anything is computed. Raises as `loaded` does."""
        _ = self.loaded

    def of_split(self, split: str, count: int, seed: int = 0) -> list[Problem]:
        """Problems as the task has them, before they are worded. Raises `InputError`."""
        return self.loaded.problems(split, count, seed)

    def worded(self, split: str, count: int) -> list[Problem]:
        """Problems whose questions are what a model reads, shots and all. Raises `InputError`."""
        return self._worded(self.of_split(split, count))

    def calibration_problems(self, count: int | None = None) -> list[Problem]:
        """Worded calibration problems.

        Args:
            count: the most; fewer where `limit` or the environment says so. None takes all of them.

        Raises:
            InputError: they cannot be read, or the environment's `QUESTIONS_VARIABLE` is no whole
                number from 1 up.
        """
        limit = self.limit or QUESTIONS
        most = min(limit if count is None else count, limit, most_questions())
        return self._calibration(most)

    def calibration_questions(self, count: int | None = None) -> list[Question]:
        """Their questions."""
        return [problem.asked for problem in self.calibration_problems(count)]

    def fitter(self, denoiser: Denoiser) -> ForecastFitter:
        """Who fits a model's forecasts: on calibration questions behind those that plans are judged by.

        Where there are no others, on these: then what is counted on them looks a little too good.
        """
        from hwsearch.denoisers.forecasts import FORECAST_QUESTIONS, ForecastFitter  # torch

        judged = self.calibration_problems()
        count = min(FORECAST_QUESTIONS, most_questions())
        found = self._calibration(len(judged) + count)[len(judged) :]
        return ForecastFitter(denoiser, [problem.asked for problem in found or judged])

    def sample(self, count: int) -> list[Question]:
        """The first worded calibration questions, however few are calibrated on."""
        return [problem.asked for problem in self._calibration(count)]

    def word(self, questions: Sequence[Question]) -> list[Question]:
        """Questions of a user's own as a model reads them, shots and all."""
        asked = self._worded([Problem.of(question) for question in questions])
        return [problem.asked for problem in asked]

    def reference_questions(self) -> list[Question]:
        """Worded validation questions; a quick look asks fewer."""
        problems = self.worded("validation", at_quick_look(REFERENCE_QUESTIONS))
        return [problem.asked for problem in problems]

    @property
    def asks(self) -> Asks:
        """How a model is asked a worded question."""
        if self.apply_chat_template:
            return "chat"
        return "template" if self.loaded.prompt is None else "text"

    def asking(self, denoiser: ModelT) -> ModelT:
        """The model, asked as this says; itself where that is how it asks anyway.

        Raises:
            InputError: it shall be asked by a chat template and has none.
        """
        if self.apply_chat_template and denoiser.chat is None:
            raise InputError(
                f"model {denoiser.name} has no chat template (chat_template in "
                "tokenizer_config.json); ask it without --apply-chat-template"
            )
        if denoiser.asks == self.asks:
            return denoiser
        return replace(denoiser, asks=self.asks)  # type: ignore[type-var]  # every model is a dataclass

    def score(
        self,
        backend: Backend,
        model: Prompted,
        split: str,
        count: int,
        *,
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
        **options: Any,
    ) -> Evaluation:
        """What a model answers to problems of a split; `options` are those of `evaluate`.

        Raises:
            InputError: the problems cannot be read, or the model has no chat template to be asked by.
        """
        chat = model.chat if self.apply_chat_template else None
        if self.apply_chat_template and chat is None:
            raise InputError(
                f"{model.name} has no chat template (chat_template in tokenizer_config.json); ask "
                "without --apply-chat-template"
            )
        return evaluate(
            backend,
            model,
            self.of_split(split, count, seed),
            task=self.loaded,
            chat=chat,
            progress=progress,
            **options,
        )

    def _calibration(self, count: int) -> list[Problem]:
        if self.calibration is None:
            return self.worded("calibration", count)
        return self._worded(read_questions(Path(self.calibration))[:count])

    def _worded(self, problems: list[Problem]) -> list[Problem]:
        task = self.loaded
        return [
            replace(problem, question=prompt_text(task, index, problem))
            for index, problem in enumerate(problems)
        ]


def at_quick_look(count: int) -> int:
    """So many questions; at a quick look fewer, but enough to judge by. Raises as `most_questions`."""
    return min(count, max(FEW_QUESTIONS, most_questions()))


def most_questions() -> int:
    """Questions to ask at most, as the environment says; far more than are asked where it does not.

    Raises:
        InputError: it says something else than a whole number from 1 up.
    """
    said = os.environ.get(QUESTIONS_VARIABLE)
    if said is None:
        return 10**9
    if not (said.isascii() and said.isdigit() and int(said)):
        raise InputError(
            f"the environment's {QUESTIONS_VARIABLE} must be a whole number from 1 up; got {said!r}"
        )
    return int(said)


@lru_cache(maxsize=8)
def _loaded(choice: TaskChoice) -> Task:
    shots = None if choice.shots is None else read_problems(Path(choice.shots))
    return load_task(choice.task, choice.task_path, shots, choice.num_shots)
