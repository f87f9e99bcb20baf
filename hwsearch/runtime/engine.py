"""A bundle, ready to answer questions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from hwsearch.decoding import sampler
from hwsearch.decoding.answer import answer_text, end_token_ids
from hwsearch.decoding.backend import Tokens
from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.errors import InputError
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
        chat = self.bundle.manifest.chat
        where = f"{self.bundle.path}: chat template"
        self.chat = None if chat is None else ChatTemplate(chat.source, chat.tokens, where)

    def generate(
        self, question: str, *, seed: int = 0, plain: bool = False, stops: Sequence[str] = ()
    ) -> str:
        """The model's answer to a question, cut where it ends.

        Args:
            question: what to ask.
            seed: of all chance, where the bundle's decoding leaves anything to it.
            plain: leave a chat template aside.
            stops: texts that end the answer, special tokens among them; its end tokens always do.

        Raises:
            CheckpointError: the bundle's chat template refuses the question.
        """
        asked = self.prompt(question) if plain or self.chat is None else self.ask(question)
        return self.text(self.generate_tokens(asked, seed=seed), stops)

    def generate_tokens(self, prompt: Sequence[int], *, seed: int = 0) -> list[int]:
        """The tokens written after a prompt's tokens: always ``decoding.gen_length`` of them."""
        manifest = self.bundle.manifest
        prompts: Tokens = np.array([prompt], dtype=np.int64)
        tokens = sampler.generate(
            self.backend, prompts, manifest.decoding, manifest.mask_token_id, seed=seed
        )
        return [int(token) for token in tokens[0, len(prompt) :]]

    def ask(self, text: str) -> list[int]:
        """Tokens of a conversation in which a user says `text`, by the bundle's chat template.

        Raises:
            InputError: the bundle has none.
            CheckpointError: the template refuses the text.
        """
        if self.chat is None:
            raise InputError(f"bundle {self.bundle.path} holds no chat template; ask it plainly")
        # a template writes its special tokens itself
        return list(self.tokenizer.encode(self.chat.ask(text), add_special_tokens=False).ids)

    def prompt(self, question: str) -> list[int]:
        """Tokens of the prompt that asks `question` plainly, chat template or not."""
        text = self.bundle.manifest.prompt_template.format(question=question)
        return list(self.tokenizer.encode(text).ids)

    def text(self, tokens: Sequence[int], stops: Sequence[str] = ()) -> str:
        """Text of generated tokens, cut at the first of the end tokens and the stops."""
        return answer_text(self.tokenizer, tokens, end_token_ids(self.bundle.manifest), stops)
