"""Score a model, or an exported bundle, on a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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


def evaluate_model(
    model: str,
    task_name: str = "gsm-mini",
    *,
    path: Path | None = None,
    split: str = "test",
    limit: int = 500,
    seed: int = 0,
    shots: Path | None = None,
    apply_chat_template: bool = False,
    dtype: str = "float32",
    torch_device: str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Score a model by name, or the bundle in a folder.

    Args:
        model: a bundled name, a model's folder, a hub id, or a bundle's folder.
        task_name: a task.
        path: a file of problems; None takes the task's own.
        split: split of the task's own problems.
        limit: most problems.
        seed: of generated problems.
        shots: a JSONL file of solved problems to show before each question.
        apply_chat_template: ask as a user of a chat would, by the model's own template.
        dtype: arithmetic of a model; a bundle has its own.
        torch_device: where a model runs; a bundle runs on the CPU.
        progress: called with the number of problems just answered.

    Raises:
        InputError: a name, file or device cannot be used, there is no chat template to apply, or
            what the model predicts is not finite.
    """
    if limit < 1:
        raise InputError(f"limit must be at least 1 problem, got {limit}")
    task = load_task(task_name, path, None if shots is None else read_problems(shots))
    problems = task.problems(split, limit, seed)
    if (Path(model) / BUNDLE_FILE).is_file():
        runtime = Runtime(model, threads=1)
        if apply_chat_template and runtime.chat is None:
            raise InputError(f"bundle {model} holds no chat template; evaluate it without")
        return evaluate(
            runtime.backend,
            BundleModel(runtime),
            problems,
            task=task,
            batch=1,
            chat=runtime.chat if apply_chat_template else None,
            progress=progress,
        )
    from hwsearch.denoisers.backends import backend_of
    from hwsearch.denoisers.loading.loader import load_denoiser

    denoiser = load_denoiser(model, dtype=dtype, device=torch_device)
    if apply_chat_template and denoiser.chat is None:
        raise InputError(
            f"model {model} has no chat template (chat_template in tokenizer_config.json); "
            "evaluate it without --apply-chat-template"
        )
    chat = denoiser.chat if apply_chat_template else None
    backend = backend_of(denoiser.network, KeptShares.keeping_all(denoiser.num_layers))
    return evaluate(backend, denoiser, problems, task=task, chat=chat, progress=progress)


def evaluate_bundle(
    runtime: Runtime, limit: int, progress: Callable[[int], None] | None = None
) -> Evaluation:
    """Score a bundle on gsm-mini's test problems."""
    task = load_task("gsm-mini")
    problems = task.problems("test", limit, 0)
    model = BundleModel(runtime)
    return evaluate(runtime.backend, model, problems, task=task, batch=1, progress=progress)
