"""Fit forecasts of passes on what a compressed model writes itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.answer import end_token_ids
from hwsearch.decoding.backend import GREEDY, Backend, Prediction, Sampling, Tokens
from hwsearch.decoding.batches import batches_of_equal_length
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.passes import Scope
from hwsearch.decoding.sampler import generation
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.chat.asking import Question
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import Network
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import PlanError
from hwsearch.forecast.fitting import fit
from hwsearch.forecast.passes import BlockPasses
from hwsearch.plan import Decoding

#: Questions that forecasts are fitted on, where a task has so many.
FORECAST_QUESTIONS: Final = 512

#: Bytes of logits that are kept at a time, about; with a vocabulary like LLaDA's that is few questions.
MOST_BYTES: Final = 2 << 30

#: Prompts of one length decoded together.
_BATCH = 32

#: Passes over a block that are reckoned with where it is guessed how much is kept.
_PASSES = 4


class ForecastFitter:
    """Fits the forecasts of any compressed form of one model, on the same questions.

    Args:
        denoiser: the uncompressed model.
        questions: what is answered; they should not be those that passes are counted on.
    """

    def __init__(self, denoiser: Denoiser, questions: Sequence[Question]) -> None:
        self.denoiser = denoiser
        self.prompts = tuple(denoiser.given(question) for question in questions)

    def foreseeing(self, network: Network, kept: KeptShares, decoding: Decoding) -> Network:
        """A network with the forecast that a decoding asks for; itself where it asks for none.

        Raises:
            PlanError: nothing can be fitted; see `hwsearch.forecast.fitting.fit`.
            InputError: the network does not hand out what the method looks at.
        """
        if decoding.forecast is None:
            return network
        settings = decoding.forecast
        passes = self.watched(network, kept, decoding, settings.needs_hidden)
        return network.foreseeing(fit(settings, passes, embeddings_of(network)))

    def watched(
        self, network: Network, kept: KeptShares, decoding: Decoding, hidden: bool = True
    ) -> list[BlockPasses]:
        """The passes over each block of the answers that a network writes without any forecast.

        Args:
            network: the compressed network.
            kept: what its layers keep.
            decoding: how it writes; what it foresees is left aside.
            hidden: whether final hidden states are kept, too.

        Raises:
            PlanError: there are no questions.
            InputError: the network does not hand out its hidden states.
        """
        if not self.prompts:
            raise PlanError("there are no questions to fit a forecast on")
        backend = backend_of(network, kept)
        watching = WatchingBackend(backend, self.denoiser.mask_token_id, hidden)
        each = _PASSES * decoding.gen_length * _vocab_size(self.denoiser) * 4
        most = max(1, MOST_BYTES // each)
        for group in batches_of_equal_length(self.prompts[:most], min(_BATCH, most)):
            generation(
                watching,
                group.prompts,
                decoding.unforeseen(),
                self.denoiser.mask_token_id,
                end_tokens=end_token_ids(self.denoiser),
                suffixes=group.suffixes,
            )
        return watching.blocks()


def _vocab_size(denoiser: Denoiser) -> int:
    """How many logits a position has."""
    network = denoiser.network
    if isinstance(network, Transformer):
        return network.geometry.vocab_size
    return int(denoiser.tokenizer.get_vocab_size())


def embeddings_of(network: Network) -> NDArray[np.float32] | None:
    """Those of a network's tokens, ``[vocab, width]``; None where it does not tell."""
    if not isinstance(network, Transformer):
        return None
    weight = network.model.embed_tokens.weight.detach()
    return np.asarray(weight.float().cpu().numpy())


class WatchingBackend:
    """Keeps what each pass over a block saw and put out.

    Limits: all of it stays in memory, ``passes x block x vocabulary`` floats a block.

    Args:
        backend: makes the passes.
        mask_token_id: the token that stands for "not written yet".
        hidden: whether the final hidden states are kept, too.
    """

    def __init__(self, backend: Backend, mask_token_id: int, hidden: bool) -> None:
        self._backend, self._mask, self._hidden = backend, mask_token_id, hidden
        self._generations: list[dict[int, list[tuple[Tokens, Prediction]]]] = []

    def begin(self, *, sampling: Sampling = GREEDY) -> None:
        """See `hwsearch.decoding.backend.Backend`."""
        self._generations.append(defaultdict(list))
        self._backend.begin(sampling=replace(sampling, logits=True, hidden=self._hidden))

    def refresh(self, tokens: Tokens, start: int, stop: int, *scope: Scope) -> Prediction:
        """See `hwsearch.decoding.backend.Backend`."""
        return self._kept(
            tokens[:, start:stop], start, self._backend.refresh(tokens, start, stop, *scope)
        )

    def step(self, tokens: Tokens, start: int, stop: int, *scope: Scope) -> Prediction:
        """See `hwsearch.decoding.backend.Backend`."""
        return self._kept(
            tokens[:, start:stop], start, self._backend.step(tokens, start, stop, *scope)
        )

    def blocks(self) -> list[BlockPasses]:
        """The passes over each block of each sample, as long as any of it was masked."""
        return [
            block
            for blocks in self._generations
            for passes in blocks.values()
            for block in self._samples(passes)
        ]

    def _kept(self, block: Tokens, start: int, found: Prediction) -> Prediction:
        self._generations[-1][start].append((block.copy(), found))
        return found

    def _samples(self, passes: list[tuple[Tokens, Prediction]]) -> list[BlockPasses]:
        tokens = np.stack([seen for seen, _ in passes], axis=1)
        logits = np.stack([found.logits for _, found in passes if found.logits is not None], axis=1)
        hidden = [found.hidden for _, found in passes if found.hidden is not None]
        states = np.stack(hidden, axis=1) if hidden else None
        masked = tokens == self._mask
        samples = []
        for row in range(len(tokens)):
            count = int(masked[row].any(axis=1).sum())
            part = np.s_[row, :count]
            own = None if states is None else states[part]
            samples.append(BlockPasses(tokens[part], masked[part], logits[part], own))
        return samples
