"""A masked-diffusion language model as one value: network, tokenizer and how it is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from hwsearch.decoding.batches import Given
from hwsearch.denoisers.accounting import own_bytes, plan_bytes
from hwsearch.denoisers.chat.asking import (
    Asks,
    Infilling,
    Question,
    prompt_tokens,
    suffix_tokens,
)
from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.network import Network, linear_sizes
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import InputError
from hwsearch.plan import CompressionPlan, Decoding


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A loaded model. Nothing in hwsearch changes its weights; compression works on copies.

    Attributes:
        name: how the model was asked for.
        network: the transformer, or a module of one's own, in evaluation mode.
        tokenizer: text to tokens and back.
        mask_token_id: the token that stands for "not written yet".
        end_token_id: the token that fills a generation after its end.
        prompt_template: text around ``{question}`` that the model was trained to answer after.
        decoding: how the model's makers decode it.
        chat: how a conversation is written for it; None for models that are not tuned to chat.
        end_token_ids: every token that ends an answer; `end_token_id` is always among them.
        asks: how `prompt` asks a question.
        options: what was said of it beside its name when it was loaded; see
            `hwsearch.denoisers.loading.options.ModelOptions`.
    """

    name: str
    network: Network
    tokenizer: Tokenizer
    mask_token_id: int
    end_token_id: int
    prompt_template: str
    decoding: Decoding
    chat: ChatTemplate | None = None
    end_token_ids: frozenset[int] = frozenset()
    asks: Asks = "template"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ends = frozenset((self.end_token_id, *self.end_token_ids))
        object.__setattr__(self, "end_token_ids", ends)

    @property
    def transformer(self) -> Transformer:
        """The network, where it has the cached passes of a Llama-form transformer.

        Raises:
            InputError: it has not.
        """
        if not isinstance(self.network, Transformer):
            raise InputError(
                f"model {self.name!r} has full passes only; sink thresholds, and whatever else asks "
                "for its geometry, need the refresh and step passes of a Llama-form transformer "
                "(see docs/how-to/your-module.md)"
            )
        return self.network

    @property
    def geometry(self) -> Geometry:
        """Sizes of the network. Raises `InputError` as `transformer` does."""
        return self.transformer.geometry

    @property
    def num_layers(self) -> int:
        """Layers that a plan has to cover."""
        return len(self.network.linear_groups().layers)

    @property
    def is_cached(self) -> bool:
        """Whether the network has the cached passes, and so sink thresholds."""
        return isinstance(self.network, Transformer)

    @property
    def is_causal(self) -> bool:
        """Whether the network is autoregressive: no position sees what follows it."""
        return self.is_cached and self.geometry.causal

    def plan_bytes(self, plan: CompressionPlan) -> int:
        """Bytes of all weights under a plan."""
        if self.is_cached:
            return plan_bytes(self.geometry, plan)
        return own_bytes(linear_sizes(self.network), plan)

    @torch.inference_mode()
    def logits(self, tokens: Tensor) -> Tensor:
        """Logits ``[batch, length, vocab]`` of one full bidirectional pass over ``[batch, length]``."""
        logits: Tensor = self.network(tokens)
        return logits

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
        both = Infilling.of(question)
        return Given(tuple(self.prompt(both.question)), tuple(self.suffix(both.suffix)))

    def _with_rows(self, tokens: list[int]) -> list[int]:
        """Tokens that the model has rows for. Raises `InputError` if it has not."""
        if self.is_cached and max(tokens, default=0) >= self.geometry.vocab_size:
            raise InputError(
                f"model {self.name!r}: the question has {self.tokenizer.id_to_token(max(tokens))!r}, "
                f"but token {max(tokens)} is outside the model's 0..{self.geometry.vocab_size - 1}; "
                "ask without it"
            )
        return tokens
