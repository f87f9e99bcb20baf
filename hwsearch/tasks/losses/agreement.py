"""Decode agreement: how much of what the uncompressed model writes is written still."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hwsearch.decoding.backend import Backend, Tokens
from hwsearch.decoding.batches import PromptBatch, batches_of_equal_length
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generation
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.chat.asking import Question
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import Network
from hwsearch.plan import Decoding
from hwsearch.tasks.losses.by_state import StateLoss, in_turn, last, shuffled


class DecodeAgreement:
    """The loss ``agreement``: share of generated tokens that differ from the uncompressed model's.

    Idea: the closest to what accuracy sees, since text is really written. Steps: the uncompressed model
    answers once; a plan decodes the same prompts; tokens that differ are counted. Limits: as dear as
    decoding, in steps of whole tokens, and chaotic: one token chosen otherwise changes those that follow.

    Args:
        prompts: batches of prompts, with what is given behind the blanks.
        written: what the uncompressed model wrote, each ``[batch, gen_length]``.
        mask_token_id: the token that stands for "not written yet".
        decoding: how answers are decoded.
    """

    name = "agreement"

    def __init__(
        self,
        prompts: Sequence[PromptBatch],
        written: Sequence[Tokens],
        mask_token_id: int,
        decoding: Decoding,
    ) -> None:
        self.prompts, self.written = tuple(prompts), tuple(written)
        self.mask_token_id = mask_token_id
        self.decoding = decoding

    @classmethod
    def record(
        cls, denoiser: Denoiser, questions: Sequence[Question], *, batch: int = 16
    ) -> DecodeAgreement:
        """Let the uncompressed model answer the questions."""
        asked = [denoiser.given(question) for question in questions]
        prompts = list(batches_of_equal_length(asked, batch))
        decoding = denoiser.decoding.scheduled()
        made = cls(prompts, (), denoiser.mask_token_id, decoding)
        written = made.write(denoiser.network, KeptShares.keeping_all(denoiser.num_layers))
        return cls(prompts, written, denoiser.mask_token_id, decoding)

    @property
    def cost(self) -> float:
        """Work of one `loss`, in full passes over one sequence."""
        return sum(map(self._passes, self.prompts))

    def loss(self, network: Network, kept: KeptShares) -> float:
        """Share of tokens that differ, 0 to 1."""
        return last(self.by_state(network, kept))

    def by_state(self, network: Network, kept: KeptShares) -> Iterator[StateLoss]:
        """The loss, a batch at a time; see `hwsearch.tasks.losses.GradualLoss`."""
        backend = backend_of(network, kept)
        whole = sum(old.size for old in self.written)

        def measure(index: int) -> tuple[int, int, float]:
            prompts, old = self.prompts[index], self.written[index]
            differ = int((self._answer(backend, prompts) != old).sum())
            return differ, old.size, self._passes(prompts)

        def describe(part: tuple[int, int, float]) -> tuple[float, float, float]:
            differ, size, work = part
            return differ / size, size / whole, work

        def total(parts: Sequence[tuple[int, int, float]]) -> float:
            return sum(part[0] for part in parts) / sum(part[1] for part in parts)

        yield from in_turn(shuffled(len(self.prompts)), measure, describe, total)

    def write(self, network: Network, kept: KeptShares) -> list[Tokens]:
        """What a network writes into the blanks, each ``[batch, gen_length]``."""
        backend = backend_of(network, kept)
        return [self._answer(backend, prompts) for prompts in self.prompts]

    def _answer(self, backend: Backend, batch: PromptBatch) -> Tokens:
        found = generation(
            backend,
            batch.prompts,
            self.decoding,
            self.mask_token_id,
            suffixes=batch.suffixes,
        )
        return found.tokens[:, found.blank.place]

    def _passes(self, batch: PromptBatch) -> float:
        """Work of answering one batch."""
        decoding = self.decoding
        share = decoding.block_length / (batch.given_length + decoding.gen_length)
        cached = decoding.steps - decoding.refreshes
        return len(batch.indices) * (decoding.refreshes + cached * share)
