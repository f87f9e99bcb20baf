"""Score a model, or an exported bundle, on a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from hwsearch.decoding.kept import KeptShares
from hwsearch.errors import InputError
from hwsearch.plan import Decoding
from hwsearch.runtime import Runtime
from hwsearch.runtime.bundle import BUNDLE_FILE
from hwsearch.tasks.catalog import load_task
from hwsearch.tasks.evaluation import Evaluation, evaluate
from hwsearch.tasks.problem import read_problems


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

    def prompt(self, question: str) -> list[int]:
        """Tokens of the prompt that asks `question`."""
        return self.runtime.prompt(question)


@dataclass(frozen=True)
class EvaluationSettings:
    """What is asked, and how a model runs.

    Attributes:
        task: name of a task.
        path: a file of problems; None takes the task's own.
        split: split of the task's own problems.
        limit: most problems.
        seed: of generated problems.
        shots: a JSONL file of solved problems to show before each question.
        apply_chat_template: ask as a user of a chat would, by the model's own template.
        dtype: arithmetic of a model; a bundle has its own.
        torch_device: where a model runs; a bundle runs on the CPU.
        decoding: fields of a model's decoding to change; a bundle is decoded as it was exported.
    """

    task: str = "gsm-mini"
    path: Path | None = None
    split: str = "test"
    limit: int = 500
    seed: int = 0
    shots: Path | None = None
    apply_chat_template: bool = False
    dtype: str = "float32"
    torch_device: str = "cpu"
    decoding: Mapping[str, Any] = field(default_factory=dict)


def evaluate_model(
    model: str,
    settings: EvaluationSettings | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Score a model by name, or the bundle in a folder.

    Args:
        model: a bundled name, a model's folder, a hub id, or a bundle's folder.
        settings: what is asked; None asks gsm-mini's test problems.
        progress: called with the number of problems just answered.

    Raises:
        InputError: a name, file or device cannot be used, there is no chat template to apply, or
            what the model predicts is not finite.
        PlanError: a field of the decoding cannot be.
    """
    settings = settings or EvaluationSettings()
    if settings.limit < 1:
        raise InputError(f"limit must be at least 1 problem, got {settings.limit}")
    shots = None if settings.shots is None else read_problems(settings.shots)
    task = load_task(settings.task, settings.path, shots)
    problems = task.problems(settings.split, settings.limit, settings.seed)
    if (Path(model) / BUNDLE_FILE).is_file():
        runtime = Runtime(model, threads=1)
        if settings.apply_chat_template and runtime.chat is None:
            raise InputError(f"bundle {model} holds no chat template; evaluate it without")
        if settings.decoding:
            raise InputError(
                f"bundle {model} is decoded as it was exported; export a plan with this decoding"
            )
        chat = runtime.chat if settings.apply_chat_template else None
        return evaluate(
            runtime.backend,
            BundleModel(runtime),
            problems,
            task=task,
            batch=1,
            chat=chat,
            progress=progress,
        )
    from hwsearch.denoisers.backends import backend_of
    from hwsearch.denoisers.loading.loader import load_denoiser

    denoiser = load_denoiser(model, dtype=settings.dtype, device=settings.torch_device)
    if settings.apply_chat_template and denoiser.chat is None:
        raise InputError(
            f"model {model} has no chat template (chat_template in tokenizer_config.json); "
            "evaluate it without --apply-chat-template"
        )
    asked = denoiser.chat if settings.apply_chat_template else None
    backend = backend_of(denoiser.network, KeptShares.keeping_all(denoiser.num_layers))
    return evaluate(
        backend,
        denoiser,
        problems,
        task=task,
        decoding=denoiser.decoding.changed(settings.decoding),
        chat=asked,
        progress=progress,
    )


def evaluate_bundle(
    runtime: Runtime, limit: int, progress: Callable[[int], None] | None = None
) -> Evaluation:
    """Score a bundle on gsm-mini's test problems."""
    task = load_task("gsm-mini")
    problems = task.problems("test", limit, 0)
    model = BundleModel(runtime)
    return evaluate(runtime.backend, model, problems, task=task, batch=1, progress=progress)
