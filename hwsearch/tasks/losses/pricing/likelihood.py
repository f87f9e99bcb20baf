"""Prices by the uncompressed model's probabilities of what was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from hwsearch.tasks.losses.pricing.decoded import Decoded, DecodedProblems
from hwsearch.tasks.losses.pricing.scores import TextScorer, TextScores
from hwsearch.tasks.losses.pricing.views import View

#: Scores of all texts to one number.
Reading = Callable[[Sequence[TextScores]], float]

#: Regret, in nats, from which a token counts as wrong for good; a worse one is not more wrong.
MOST_REGRET = 5.0


def mean_surprise(texts: Sequence[TextScores]) -> float:
    """Mean surprise of all tokens, in nats."""
    return float(np.concatenate([text.surprise for text in texts]).mean())


def mean_regret(texts: Sequence[TextScores]) -> float:
    """Mean regret of all tokens, in nats."""
    return float(np.concatenate([text.regret for text in texts]).mean())


def total_regret(texts: Sequence[TextScores]) -> float:
    """Regret of a text, all its tokens added up: nats a text, in the mean over texts."""
    return float(np.mean([text.regret.sum() for text in texts]))


def worst_regret(texts: Sequence[TextScores]) -> float:
    """Mean over texts of the worst token's regret, `MOST_REGRET` being 1.

    One wrong token makes an answer wrong, and a mean over tokens hides it.
    """
    return float(np.mean([min(text.regret.max() / MOST_REGRET, 1.0) for text in texts]))


class TextLikelihood:
    """A price by how probable the uncompressed model finds the texts.

    Idea: a wrong parallel commit leaves a text that the model itself would not have written. Steps: a
    plan's texts are shown to the uncompressed model with tokens hidden, and the tokens written are held
    against its predictions; that of its own texts under its makers' decoding is taken away. Limits: a
    mistake that the rest of the text agrees with may look probable, and so may dull text.

    Args:
        name: as a user spells it.
        problems: what is decoded.
        view: which tokens are hidden together.
        reading: scores to one number.
    """

    def __init__(
        self, name: str, problems: DecodedProblems, view: View, reading: Reading = total_regret
    ) -> None:
        self.name, self.problems, self.reading = name, problems, reading
        self.scorer = TextScorer(problems.denoiser, view)

    @cached_property
    def cost(self) -> float:
        """Work of one price, in full passes over one sequence; less where texts are known."""
        return float(self.scorer.work(self.problems.reference))

    def price(self, decoded: Decoded) -> float:
        """What `reading` makes of the texts, above the uncompressed model's own; may be below 0."""
        return self.reading(self.scorer.scores(decoded)) - self._own

    @cached_property
    def _own(self) -> float:
        return self.reading(self.scorer.scores(self.problems.reference))
