"""Decode agreement: how much of what the uncompressed model writes is written still."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsearch.decoding.backend import Tokens
from hwsearch.decoding.batches import groups_of_equal_length
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import Network
from hwsearch.denoisers.passes import backend_of
from hwsearch.plan import Decoding


class DecodeAgreement:
    """The proxy ``agreement``: share of generated tokens that differ from the uncompressed model's.

    Args:
        prompts: batches of prompts, each ``[batch, length]``.
        written: what the uncompressed model wrote, each ``[batch, gen_length]``.
        mask_token_id: the token that stands for "not written yet".
        decoding: how answers are decoded.
    """

    name = "agreement"

    def __init__(
        self,
        prompts: Sequence[Tokens],
        written: Sequence[Tokens],
        mask_token_id: int,
        decoding: Decoding,
    ) -> None:
        self.prompts, self.written = tuple(prompts), tuple(written)
        self.mask_token_id = mask_token_id
        self.decoding = decoding

    @classmethod
    def record(
        cls, denoiser: Denoiser, questions: Sequence[str], *, batch: int = 16
    ) -> DecodeAgreement:
        """Let the uncompressed model answer the questions."""
        asked = [denoiser.prompt(question) for question in questions]
        groups = groups_of_equal_length(asked, batch)
        prompts = [np.array([asked[index] for index in group], dtype=np.int64) for group in groups]
        made = cls(prompts, (), denoiser.mask_token_id, denoiser.decoding)
        written = made.write(denoiser.network, [1.0] * denoiser.num_layers)
        return cls(prompts, written, denoiser.mask_token_id, denoiser.decoding)

    @property
    def cost(self) -> float:
        """Work of one `loss`, in full passes over one sequence."""
        decoding, total = self.decoding, 0.0
        for prompts in self.prompts:
            share = decoding.block_length / (prompts.shape[1] + decoding.gen_length)
            cached = decoding.steps - decoding.refreshes
            total += len(prompts) * (decoding.refreshes + cached * share)
        return total

    def loss(self, network: Network, kept_shares: Sequence[float]) -> float:
        """Share of tokens that differ, 0 to 1."""
        again = self.write(network, kept_shares)
        differ = sum(int((new != old).sum()) for new, old in zip(again, self.written, strict=True))
        return differ / sum(old.size for old in self.written)

    def write(self, network: Network, kept_shares: Sequence[float]) -> list[Tokens]:
        """What a network writes after the prompts, each ``[batch, gen_length]``."""
        backend = backend_of(network, kept_shares)
        return [
            generate(backend, prompts, self.decoding, self.mask_token_id)[:, prompts.shape[1] :]
            for prompts in self.prompts
        ]
