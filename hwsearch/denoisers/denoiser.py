"""A masked-diffusion language model as one value: network, tokenizer and how it is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from hwsearch.denoisers.accounting import own_bytes, plan_bytes
from hwsearch.denoisers.chat.asking import Asks
from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.denoisers.described import Asked
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.network import Network, linear_sizes
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import InputError
from hwsearch.plan import CompressionPlan, Decoding


@dataclass(frozen=True, eq=False)
class Denoiser(Asked):
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
    def known_geometry(self) -> Geometry | None:
        """Sizes of the network; None for a module of one's own."""
        return self.network.geometry if isinstance(self.network, Transformer) else None

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
