"""A bundle, ready to answer questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

from hwsearch.decoding import sampler
from hwsearch.decoding.answer import answer_text, end_token_ids, partial_text
from hwsearch.decoding.backend import Tokens
from hwsearch.decoding.batches import Given, Prompt, batches_of_equal_length
from hwsearch.decoding.passes import PassRecord
from hwsearch.decoding.sampler import Generation, OnPass
from hwsearch.denoisers.chat.asking import (
    Asks,
    Infilling,
    Question,
    prompt_tokens,
    suffix_tokens,
)
from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.denoisers.loading.special_tokens import open_tokenizer
from hwsearch.errors import InputError
from hwsearch.runtime.backend import OnnxBackend
from hwsearch.runtime.bundle import TOKENIZER_FILE, Bundle, read_bundle
from hwsearch.runtime.providers import provider_of


class Runtime:
    """Generates with a bundle, on onnxruntime alone. Threads may share one.

    Args:
        bundle: a bundle, or the path of one; a path is checked as `read_bundle` does, and raises
            as it does.
        threads: threads of one operator; None lets onnxruntime choose.
        is_opened: whether its sessions are opened now; else when they are first asked for.
        provider: insists on one by name: a bundle of another is refused. A bundle is always run by what it
            was exported for.

    Raises:
        InputError: the bundle was exported for another provider than that, or its own is not installed.
    """

    def __init__(
        self,
        bundle: Bundle | Path | str,
        threads: int | None = None,
        is_opened: bool = True,
        provider: str | None = None,
    ) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else read_bundle(bundle)
        if provider is not None:
            _check_written_for(self.bundle, provider)
        self._threads, self._opening = threads, Lock()
        self._backend = OnnxBackend(self.bundle, threads) if is_opened else None
        self.tokenizer = open_tokenizer(self.bundle.path / TOKENIZER_FILE)
        chat = self.bundle.manifest.chat
        where = f"{self.bundle.path}: chat template"
        self.chat = None if chat is None else ChatTemplate(chat.source, chat.tokens, where)

    @property
    def backend(self) -> OnnxBackend:
        """The passes of one generation; others share its sessions."""
        with self._opening:
            if self._backend is None:
                self._backend = OnnxBackend(self.bundle, self._threads)
            return self._backend

    def generate(
        self,
        question: str,
        *,
        suffix: str = "",
        seed: int = 0,
        plain: bool = False,
        stops: Sequence[str] = (),
        on_text: Callable[[str], None] | None = None,
    ) -> str:
        """The model's answer to a question, cut where it ends.

        Args:
            question: what to ask.
            suffix: text that is given behind the answer, which fills the blank before it.
            seed: of all chance, where the bundle's decoding leaves anything to it.
            plain: leave a chat template aside.
            stops: texts that end the answer, special tokens among them; its end tokens always do.
            on_text: called after each pass with the text so far, what is not written yet as
                `hwsearch.decoding.answer.UNWRITTEN`.

        Raises:
            CheckpointError: the bundle's chat template refuses the question.
        """
        asks: Asks = "template" if plain or self.chat is None else "chat"
        asked = self.given(Infilling(question, suffix), asks)
        place = asked.blank(self.bundle.manifest.decoding.gen_length).place

        def show(tokens: Tokens, record: PassRecord) -> None:
            if on_text is not None:
                on_text(self.partial_text(tokens[0, place].tolist(), stops))

        found = self.generation(asked, seed=seed, on_pass=None if on_text is None else show)
        return self.text(found.tokens[0, place].tolist(), stops)

    def generate_tokens(self, prompt: Prompt, *, seed: int = 0) -> list[int]:
        """The tokens written after a prompt's tokens: always ``decoding.gen_length`` of them."""
        found = self.generation(prompt, seed=seed)
        return [int(token) for token in found.tokens[0, found.blank.place]]

    def generation(
        self, prompt: Prompt, *, seed: int = 0, on_pass: OnPass | None = None
    ) -> Generation:
        """What is written after a prompt's tokens, and in which passes.

        Args:
            prompt: its tokens, or those on both sides of a blank.
            seed: of all chance.
            on_pass: called after each pass; see `hwsearch.decoding.sampler.OnPass`.

        Returns:
            Of batch 1; its tokens are ``[1, length]``, all that was given included.
        """
        manifest = self.bundle.manifest
        (batch,) = batches_of_equal_length([prompt], 1)
        return sampler.generation(
            self.backend.sharing(),  # the sessions are everybody's, the cache is this call's
            batch.prompts,
            manifest.decoding,
            manifest.mask_token_id,
            seed=seed,
            end_tokens=end_token_ids(manifest),
            on_pass=on_pass,
            suffixes=batch.suffixes,
        )

    def ask(self, text: str) -> list[int]:
        """Tokens of a conversation in which a user says `text`, by the bundle's chat template.

        Raises:
            InputError: the bundle has none.
            CheckpointError: the template refuses the text.
        """
        if self.chat is None:
            raise InputError(f"bundle {self.bundle.path} holds no chat template; ask it plainly")
        return self.prompt(text, "chat")

    def prompt(self, question: str, asks: Asks = "template") -> list[int]:
        """Tokens of the prompt that asks `question`: plainly, unless it says otherwise."""
        template = self.bundle.manifest.prompt_template
        return prompt_tokens(question, asks, self.tokenizer, template, self.chat)

    def suffix(self, text: str) -> list[int]:
        """Tokens of a text that is given behind the answer; none of an empty one."""
        return suffix_tokens(text, self.tokenizer)

    def given(self, question: Question, asks: Asks = "template") -> Given:
        """Tokens on both sides of the answer; the prompt as `prompt` makes it, and raises."""
        both = Infilling.of(question)
        return Given(tuple(self.prompt(both.question, asks)), tuple(self.suffix(both.suffix)))

    def text(self, tokens: Sequence[int], stops: Sequence[str] = ()) -> str:
        """Text of generated tokens, cut at the first of the end tokens and the stops."""
        return answer_text(self.tokenizer, tokens, end_token_ids(self.bundle.manifest), stops)

    def partial_text(self, tokens: Sequence[int], stops: Sequence[str] = ()) -> str:
        """Text of tokens that are still being written; see `hwsearch.decoding.answer.partial_text`."""
        manifest = self.bundle.manifest
        ends = end_token_ids(manifest)
        return partial_text(self.tokenizer, tokens, manifest.mask_token_id, ends, stops)


def _check_written_for(bundle: Bundle, name: str) -> None:
    """Raise `InputError` where a bundle was exported for another provider than one."""
    own, wanted = bundle.manifest.runtime, provider_of(name).name
    if own != wanted:
        raise InputError(
            f"{bundle.path} was exported for {own}, not for {wanted}: its graphs are written for that, and "
            f"its times hold there alone; export the plan for {wanted}"
        )
