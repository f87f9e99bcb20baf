"""A model without its weights: how it is asked, and how large it is. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsearch.denoisers.chat.asking import (
    Asks,
    Infilling,
    Question,
    prompt_tokens,
    suffix_tokens,
)
from hwsearch.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from hwsearch.decoding.batches import Given
    from hwsearch.denoisers.chat.template import ChatTemplate
    from hwsearch.denoisers.geometry import Geometry
    from hwsearch.plan import Decoding


class Asked:
    """What can be asked: questions become tokens, whether there are weights or not.

    Attributes:
        name: how the model was asked for.
        tokenizer: text to tokens and back.
        prompt_template: text around ``{question}`` that the model was trained to answer after.
        decoding: how the model's makers decode it.
        chat: how a conversation is written for it; None for models that are not tuned to chat.
        asks: how `prompt` asks a question.
    """

    name: str
    tokenizer: Tokenizer
    prompt_template: str
    decoding: Decoding
    chat: ChatTemplate | None
    asks: Asks

    @property
    def known_geometry(self) -> Geometry | None:
        """Sizes of a Llama-form transformer; None for a module of one's own."""
        raise NotImplementedError

    @property
    def is_cached(self) -> bool:
        """Whether the network has the cached passes, and so sink thresholds."""
        return self.known_geometry is not None

    @property
    def is_causal(self) -> bool:
        """Whether the network is autoregressive: no position sees what follows it."""
        sizes = self.known_geometry
        return sizes is not None and sizes.causal

    def prompt(self, question: str) -> list[int]:
        """Tokens of the prompt that asks `question`.

        Raises:
            InputError: the model has no row for one of them; such tokens were added after training. Or
                it shall be asked by a chat template and has none.
        """
        tokens = prompt_tokens(question, self.asks, self.tokenizer, self.prompt_template, self.chat)
        return self._with_rows(tokens)

    def suffix(self, text: str) -> list[int]:
        """Tokens of a text that is given behind the answer; none of an empty one.

        Raises:
            InputError: the model is autoregressive, or has no row for one of them.
        """
        if text and self.is_causal:
            raise InputError(
                f"model {self.name!r} is autoregressive, so it cannot see a text behind what it writes; "
                'leave "suffix" out, or take a masked-diffusion model'
            )
        return self._with_rows(suffix_tokens(text, self.tokenizer))

    def given(self, question: Question) -> Given:
        """Tokens on both sides of the answer. Raises `InputError` as `prompt` and `suffix`."""
        from hwsearch.decoding.batches import Given

        both = Infilling.of(question)
        return Given(tuple(self.prompt(both.question)), tuple(self.suffix(both.suffix)))

    def _with_rows(self, tokens: list[int]) -> list[int]:
        """Tokens that the model has rows for. Raises `InputError` if it has not."""
        sizes = self.known_geometry
        if sizes is not None and max(tokens, default=0) >= sizes.vocab_size:
            raise InputError(
                f"model {self.name!r}: the question has {self.tokenizer.id_to_token(max(tokens))!r}, "
                f"but token {max(tokens)} is outside the model's 0..{sizes.vocab_size - 1}; "
                "ask without it"
            )
        return tokens


@dataclass(frozen=True, eq=False)
class DescribedModel(Asked):
    """A Llama-form model by what its files say, for whoever needs no weights.

    Attributes:
        geometry: its sizes.
        itemsize: bytes of a weight once it is loaded.
        stays_stored: whether its weights would stay in their files.

    The others are those of `Asked`.
    """

    name: str
    geometry: Geometry
    tokenizer: Tokenizer
    prompt_template: str
    decoding: Decoding
    chat: ChatTemplate | None = None
    asks: Asks = "template"
    itemsize: int = 4
    stays_stored: bool = False

    @property
    def known_geometry(self) -> Geometry:
        """Its sizes."""
        return self.geometry

    @property
    def num_layers(self) -> int:
        """Layers that a plan has to cover."""
        return self.geometry.num_layers
