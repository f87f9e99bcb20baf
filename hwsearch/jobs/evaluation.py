"""Score a model, or an exported bundle, on a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.errors import InputError
from hwsearch.plan import Decoding
from hwsearch.runtime import Runtime
from hwsearch.runtime.bundle import BUNDLE_FILE
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.evaluation import Evaluation

if TYPE_CHECKING:
    from hwsearch.denoisers.loading.options import ModelOptions


@dataclass(frozen=True)
class BundleModel:
    """A bundle with the attributes by which evaluation asks a model."""

    runtime: Runtime

    @property
    def name(self) -> str:
        """The bundle's folder."""
        return str(self.runtime.bundle.path)

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to tokens and back."""
        return self.runtime.tokenizer

    @property
    def mask_token_id(self) -> int:
        """The token that stands for "not written yet"."""
        return self.runtime.bundle.manifest.mask_token_id

    @property
    def end_token_id(self) -> int:
        """The token that fills a generation after its end."""
        return self.runtime.bundle.manifest.end_token_id

    @property
    def end_token_ids(self) -> tuple[int, ...]:
        """More tokens that end an answer."""
        return self.runtime.bundle.manifest.end_token_ids

    @property
    def decoding(self) -> Decoding:
        """How the bundle was exported to be decoded."""
        return self.runtime.bundle.manifest.decoding

    @property
    def chat(self) -> ChatTemplate | None:
        """How a conversation is written for it."""
        return self.runtime.chat

    def prompt(self, question: str) -> list[int]:
        """Tokens of the prompt that asks `question`."""
        return self.runtime.prompt(question)

    def suffix(self, text: str) -> list[int]:
        """Tokens of a text behind the answer."""
        return self.runtime.suffix(text)


@dataclass(frozen=True)
class EvaluationSettings:
    """What is asked, and how a model runs.

    Attributes:
        task: a task, where its problems are, and how they are asked.
        split: split of its problems.
        limit: most problems.
        seed: of generated problems.
        model: how a model is loaded, None as its files say; a bundle is as it was exported, and runs on
            the CPU.
        decoding: fields of a model's decoding to change; a bundle is decoded as it was exported.
    """

    task: TaskChoice = field(default_factory=TaskChoice)
    split: str = "test"
    limit: int = 500
    seed: int = 0
    model: ModelOptions | None = None
    decoding: Mapping[str, Any] = field(default_factory=dict)


def evaluate_model(
    model: str,
    settings: EvaluationSettings | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Score a model by name, or the bundle in a folder.

    Args:
        model: a bundled name, a model's folder, a GGUF file, a hub id, or a bundle's folder.
        settings: what is asked; None asks the default task's test problems.
        progress: called with the number of problems just answered.

    Raises:
        InputError: a name, file or device cannot be used, there is no chat template to apply, or
            what the model predicts is not finite.
        PlanError: a field of the decoding cannot be.
    """
    settings = settings or EvaluationSettings()
    if settings.limit < 1:
        raise InputError(f"limit must be at least 1 problem, got {settings.limit}")
    task, asked = settings.task, (settings.split, settings.limit)
    if (Path(model) / BUNDLE_FILE).is_file():
        if settings.decoding:
            raise InputError(
                f"bundle {model} is decoded as it was exported; export a plan with this decoding"
            )
        bundle = BundleModel(Runtime(model, threads=1))
        return task.score(
            bundle.runtime.backend, bundle, *asked, seed=settings.seed, batch=1, progress=progress
        )
    from hwsearch.denoisers.backends import backend_of  # bundles are scored without torch
    from hwsearch.denoisers.loading.options import ModelOptions

    task.check()  # before a model is read
    denoiser = (settings.model or ModelOptions()).load(model)
    decoding = denoiser.decoding.changed(settings.decoding)
    network, kept = denoiser.network, KeptShares.keeping_all(denoiser.num_layers)
    if decoding.forecast is not None:
        network = task.fitter(denoiser).foreseeing(network, kept, decoding)
    return task.score(
        backend_of(network, kept),
        denoiser,
        *asked,
        seed=settings.seed,
        decoding=decoding,
        progress=progress,
    )


def evaluate_bundle(
    runtime: Runtime,
    task: TaskChoice,
    limit: int,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Score a bundle on a task's test problems."""
    return task.score(
        runtime.backend, BundleModel(runtime), "test", limit, batch=1, progress=progress
    )
