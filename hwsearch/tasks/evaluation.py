"""Ask a model problems and score what it writes; the same for torch and for onnxruntime."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hwsearch.decoding.answer import answer_text, end_token_ids
from hwsearch.decoding.backend import Backend
from hwsearch.decoding.batches import Given, batches_of_equal_length
from hwsearch.decoding.passes import PassKind, PassShape, counted, kinds
from hwsearch.decoding.sampler import generation
from hwsearch.denoisers.chat.asking import encoded
from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.plan import Decoding
from hwsearch.tasks.finite import FiniteBackend
from hwsearch.tasks.problem import Problem
from hwsearch.tasks.statistics import Interval
from hwsearch.tasks.task import GSM_MINI, Score, Task

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Prompted(Protocol):
    """What evaluation needs of a model besides its passes; `Denoiser` has it, so has a bundle."""

    @property
    def name(self) -> str:
        """How it was asked for."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to tokens and back."""

    @property
    def mask_token_id(self) -> int:
        """The token that stands for "not written yet"."""

    @property
    def end_token_id(self) -> int:
        """The token that fills a generation after its end."""

    @property
    def decoding(self) -> Decoding:
        """How the model's makers decode it."""

    @property
    def chat(self) -> ChatTemplate | None:
        """How a conversation is written for it; None for models that are not tuned to chat."""

    def prompt(self, question: str) -> list[int]:
        """Tokens of the prompt that asks `question`."""

    def suffix(self, text: str) -> list[int]:
        """Tokens of a text behind the answer. Raises `InputError`: the model takes none."""


@dataclass(frozen=True)
class Evaluation:
    """What a model wrote, and how much of it was right.

    Attributes:
        task: what was asked.
        decoding: how the answers were decoded.
        problems: the problems, in the order given.
        prompts: the tokens of each prompt.
        prompt_texts: their texts, where the task words them; the questions elsewhere.
        texts: what the model wrote for each, cut at its end.
        passes: how often each kind of pass was run for each.
        scores: score by the name of each of the task's filters.
        seconds: wall-clock time of all decoding.
        chat: the chat template that wrapped the prompts, if one did.
    """

    task: Task
    decoding: Decoding
    problems: tuple[Problem, ...]
    prompts: tuple[tuple[int, ...], ...]
    prompt_texts: tuple[str, ...]
    texts: tuple[str, ...]
    scores: dict[str, Score]
    passes: tuple[Counter[PassShape], ...]
    seconds: float
    chat: ChatTemplate | None = None

    @property
    def score(self) -> Score:
        """The score by the task's first filter."""
        return self.scores[self.task.filters[0].name]

    @property
    def accuracy(self) -> float:
        """Share of the problems solved, by the task's first filter."""
        return self.score.accuracy

    @property
    def mean_passes(self) -> dict[PassKind, float]:
        """Passes by kind, in the mean over problems."""
        total: Counter[PassShape] = sum(self.passes, Counter())
        return {kind: count / len(self.passes) for kind, count in kinds(total)}

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of `accuracy`."""
        return self.score.interval


def evaluate(
    backend: Backend,
    model: Prompted,
    problems: Sequence[Problem],
    *,
    task: Task = GSM_MINI,
    decoding: Decoding | None = None,
    batch: int = 32,
    chat: ChatTemplate | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Decode an answer to every problem and score them.

    Prompts of equal token length are decoded together, so nothing is padded. A problem's suffix
    follows the answer as bare text, whatever shots or chat template are before it.

    Args:
        backend: the model's passes.
        model: its tokenizer, prompt and tokens.
        problems: at least one.
        task: how the problems are asked and scored.
        decoding: how answers are decoded; None takes the model's own.
        batch: most prompts decoded together; 1 for an exported bundle.
        chat: asks each prompt, shots included, as one message of a user; None asks it plainly.
        progress: called with the number of problems just answered.

    Raises:
        ValueError: there are no problems.
        CheckpointError: the model's logits are not finite numbers.
        InputError: a problem has a suffix, and the model is autoregressive.
    """
    backend = FiniteBackend(backend, model)
    decoding = decoding or model.decoding
    asked = [prompt_text(task, index, problem, chat) for index, problem in enumerate(problems)]
    encode = _encoder(model, task, chat)
    prompts = [encode(text) for text in asked]
    given = [
        Given(tuple(prompt), tuple(model.suffix(problem.suffix) if problem.suffix else ()))
        for prompt, problem in zip(prompts, problems, strict=True)
    ]
    texts, ends = [""] * len(prompts), end_token_ids(model)
    passes = [Counter[PassShape]()] * len(prompts)
    began = time.perf_counter()
    for group in batches_of_equal_length(given, batch):
        found = generation(
            backend,
            group.prompts,
            decoding,
            model.mask_token_id,
            end_tokens=ends,
            suffixes=group.suffixes,
        )
        for place, index in enumerate(group.indices):
            row = found.tokens[place, found.blank.place].tolist()
            texts[index] = answer_text(model.tokenizer, row, ends, task.stops)
            passes[index] = counted(found.passes, place)
        if progress is not None:
            progress(len(group.indices))
    return Evaluation(
        task=task,
        decoding=decoding,
        problems=tuple(problems),
        prompts=tuple(map(tuple, prompts)),
        prompt_texts=tuple(asked),
        texts=tuple(texts),
        scores=task.scores(problems, texts),
        passes=tuple(passes),
        seconds=time.perf_counter() - began,
        chat=chat,
    )


def prompt_text(task: Task, index: int, problem: Problem, chat: ChatTemplate | None = None) -> str:
    """What a model is asked: the task's wording, or the bare question for the model's template."""
    text = problem.question if task.prompt is None else task.prompt(index, problem)
    return text if chat is None else chat.ask(text)


def _encoder(model: Prompted, task: Task, chat: ChatTemplate | None) -> Callable[[str], list[int]]:
    """Text to tokens: a chat template writes its special tokens itself, so none are added."""
    if chat is not None:
        return lambda text: encoded(model.tokenizer, text, add_special_tokens=False)
    return model.prompt if task.prompt is None else lambda text: encoded(model.tokenizer, text)
