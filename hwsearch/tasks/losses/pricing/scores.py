"""How probable each token of a text is to the uncompressed model."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hwsearch.decoding.batches import groups_of_equal_length
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.tasks.losses.pricing.decoded import Decoded
from hwsearch.tasks.losses.pricing.views import JudgedState, View

_Scores = tuple[NDArray[np.float64], NDArray[np.float64]]

#: States of one length passed over together.
BATCH = 64


@dataclass(frozen=True, eq=False)
class TextScores:
    """Scores of one text's tokens, in the order in which they were judged.

    Attributes:
        surprise: minus log probability of each token, in nats.
        regret: by how much the most probable token's log probability exceeds the token's; 0 where
            it is the one the uncompressed model would write.
    """

    surprise: NDArray[np.float64]
    regret: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: Sequence[_Scores]) -> TextScores:
        """Those of a text's states after each other."""
        surprise, regret = (np.concatenate(column) for column in zip(*parts, strict=True))
        return cls(surprise, regret)


class TextScorer:
    """Scores texts by full passes of the uncompressed model, nothing cached.

    States are kept with their scores: plans that hardly differ write the same, and pay for it once.
    So equal texts have equal scores to the bit, too, however they were batched.

    Args:
        denoiser: the uncompressed model.
        view: the states in which texts are judged.
    """

    def __init__(self, denoiser: Denoiser, view: View) -> None:
        self.view = view
        self.passes = 0
        self._mask = denoiser.mask_token_id
        self._backend = backend_of(denoiser.network, KeptShares.keeping_all(denoiser.num_layers))
        self._known: dict[Hashable, _Scores] = {}

    def work(self, decoded: Decoded) -> int:
        """Full passes that scoring takes where no state is known yet."""
        return sum(len(self.view.states(problem, self._mask)) for problem in decoded.problems)

    def scores(self, decoded: Decoded) -> list[TextScores]:
        """Scores of each problem's text."""
        texts = [self.view.states(problem, self._mask) for problem in decoded.problems]
        unknown = {
            state.key: state for states in texts for state in states if state.key not in self._known
        }
        self._known |= zip(unknown, self._judge(list(unknown.values())), strict=True)
        self.passes += len(unknown)
        return [TextScores.joined([self._known[state.key] for state in states]) for states in texts]

    @torch.inference_mode()
    def _judge(self, states: Sequence[JudgedState]) -> list[_Scores]:
        """Surprise and regret of each state's judged tokens."""
        found: dict[int, _Scores] = {}
        for group in groups_of_equal_length([state.tokens.tolist() for state in states], BATCH):
            tokens = np.stack([states[index].tokens for index in group])
            first = min(int(states[index].judged[0]) for index in group)
            self._backend.begin()
            logits = self._backend.refresh_logits(tokens, first, tokens.shape[1])
            for row, index in enumerate(group):
                state = states[index]
                at = torch.from_numpy(state.judged - first).to(logits.device)
                logp = logits[row, at].double().log_softmax(dim=-1)
                wrote = torch.from_numpy(state.wrote).to(logits.device)
                own = logp.gather(-1, wrote[:, None])[:, 0]
                best = logp.max(dim=-1).values
                found[index] = ((-own).cpu().numpy(), (best - own).cpu().numpy())
        return [found[index] for index in range(len(states))]
