"""A bundle, ready to answer questions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from hwsearch.decoding import sampler
from hwsearch.decoding.backend import Tokens
from hwsearch.runtime.backend import OnnxBackend
from hwsearch.runtime.bundle import TOKENIZER_FILE, Bundle, read_bundle


class Runtime:
    """Generates with a bundle, on onnxruntime alone.

    Args:
        bundle: a bundle, or the path of one; a path is checked as `read_bundle` does, and raises
            as it does.
        threads: threads of one operator; None lets onnxruntime choose.
    """

    def __init__(self, bundle: Bundle | Path | str, threads: int | None = None) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else read_bundle(bundle)
        self.backend = OnnxBackend(self.bundle, threads)
        self.tokenizer = Tokenizer.from_file(str(self.bundle.path / TOKENIZER_FILE))

    def generate(self, question: str, seed: int = 0) -> str:
        """The model's answer to a question, cut at its end token.

        Args:
            question: what to ask.
            seed: of all chance, where the bundle's decoding leaves anything to it.
        """
        written = self.generate_tokens(self.prompt(question), seed)
        return self.text(written)

    def generate_tokens(self, prompt: Sequence[int], seed: int = 0) -> list[int]:
        """The tokens written after a prompt's tokens: always ``decoding.gen_length`` of them."""
        manifest = self.bundle.manifest
        prompts: Tokens = np.array([prompt], dtype=np.int64)
        tokens = sampler.generate(
            self.backend, prompts, manifest.decoding, manifest.mask_token_id, seed=seed
        )
        return [int(token) for token in tokens[0, len(prompt) :]]

    def prompt(self, question: str) -> list[int]:
        """Tokens of the prompt that asks `question`."""
        text = self.bundle.manifest.prompt_template.format(question=question)
        return list(self.tokenizer.encode(text).ids)

    def text(self, tokens: Sequence[int]) -> str:
        """Text of generated tokens, cut at the first end token."""
        tokens = list(tokens)
        end = self.bundle.manifest.end_token_id
        if end in tokens:
            tokens = tokens[: tokens.index(end)]
        return str(self.tokenizer.decode(tokens))
