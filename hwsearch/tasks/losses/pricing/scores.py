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
from hwsearch.tasks.losses.pricing.decoded import Decoded, DecodedProblem
from hwsearch.tasks.losses.pricing.views import JudgedState, View

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


class TextScorer:
    """Scores texts by full passes of the uncompressed model, nothing cached.

    Texts are kept with their scores: plans that hardly differ write the same, and pay for it once.
    So equal texts have equal scores to the bit, too, however they were batched.

    Args:
        denoiser: the uncompressed model.
        view: the states in which texts are judged.
    """

    def __init__(self, denoiser: Denoiser, view: View) -> None:
        self.view = view
        self._mask = denoiser.mask_token_id
        self._backend = backend_of(denoiser.network, KeptShares.keeping_all(denoiser.num_layers))
        self._known: dict[Hashable, TextScores] = {}

    def work(self, decoded: Decoded) -> int:
        """Full passes that scoring takes where no text is known yet."""
        return sum(len(self.view.states(problem, self._mask)) for problem in decoded.problems)

    def scores(self, decoded: Decoded) -> list[TextScores]:
        """Scores of each problem's text."""
        keys = [self._key(problem) for problem in decoded.problems]
        missing = {
            key: self.view.states(problem, self._mask)
            for key, problem in zip(keys, decoded.problems, strict=True)
            if key not in self._known
        }
        judged = iter(self._judge([state for states in missing.values() for state in states]))
        for key, states in missing.items():
            parts = [next(judged) for _ in states]
            surprise, regret = (np.concatenate(column) for column in zip(*parts, strict=True))
            self._known[key] = TextScores(surprise, regret)
        return [self._known[key] for key in keys]

    def _key(self, problem: DecodedProblem) -> Hashable:
        text = (problem.prompt_length, problem.text_count, problem.finished.tobytes())
        if self.view.by_text:
            return text
        return text, problem.generated.tobytes(), problem.written.tobytes()

    @torch.inference_mode()
    def _judge(
        self, states: Sequence[JudgedState]
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Surprise and regret of each state's judged tokens."""
        found: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
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
