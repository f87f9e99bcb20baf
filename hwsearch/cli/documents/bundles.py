"""Documents of bundles: export, verify, generate, bench, web."""

from __future__ import annotations

from hwsearch.cli.documents.base import Document, Numbers
from hwsearch.runtime.bundle import Figures


class BundleDocument(Document):
    """A bundle that was written."""

    bundle: str
    figures: Figures


class GgufDocument(Document):
    """With ``--to gguf``: the file."""

    gguf: str
    size_bytes: int


class CompressedTensorsDocument(Document):
    """With ``--to compressed-tensors``: the folder."""

    compressed_tensors: str
    size_bytes: int


class CheckDocument(Document):
    """One thing that was verified; a bundle fails where one that `decides` has not passed."""

    name: str
    passed: bool
    found: str
    rule: str
    decides: bool
    figures: dict[str, float | None]


class AnswerDocument(Document):
    """A question and its answer."""

    question: str
    suffix: str | None = None
    answer: str


class BenchDocument(Document):
    """How fast a bundle answers; `passes` and `tokens` are of all generations together."""

    bundle: str
    threads: int
    generations: int
    tokens: int
    tokens_per_second: float
    tokens_per_pass: float
    passes: Numbers
    latency_ms: Numbers
    peak_bytes: int | None


class WebDocument(Document):
    """Scripts that were written."""

    folder: str
