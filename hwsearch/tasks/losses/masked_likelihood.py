"""Masked negative log-likelihood: LLaDA's bound on how probable the right answers are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.tasks.losses.teacher_forcing import ForcedStates, answered, batches_of
from hwsearch.tasks.problem import Problem


class MaskedLikelihood(ForcedStates):
    """The loss ``nll``, in nats per answer token.

    For an answer of L tokens and l of them masked, l and the masks drawn evenly,
    ``-log p(answer | prompt) <= E[(L / l) * sum of masked cross entropies]``
    (LLaDA, arXiv 2502.09992, equation 6); divided by L here. The draws are frozen.
    """

    name = "nll"

    @classmethod
    def record(
        cls, denoiser: Denoiser, problems: Sequence[Problem], *, seed: int = 0
    ) -> MaskedLikelihood:
        """Draw one mask for each problem.

        Raises:
            InputError: no answer fits what the model writes.
        """
        rows = answered(denoiser, problems)
        rng = np.random.default_rng(seed)
        masked = draw_masks(len(rows), denoiser.decoding.gen_length, rng)
        weights = masked / masked.sum(axis=1, keepdims=True) / len(rows)
        return cls(batches_of(rows, weights), denoiser.mask_token_id, denoiser.decoding)


def draw_masks(count: int, length: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Masks ``[count, length]``; the number masked is stratified over 1..length.

    >>> draw_masks(4, 4, np.random.default_rng(0)).sum(axis=1).tolist()
    [3, 1, 2, 4]
    """
    strata = (rng.permutation(count) + rng.random(count)) / count
    masked = 1 + np.floor(strata * length).astype(np.int64)
    ranks = rng.random((count, length)).argsort(axis=1).argsort(axis=1)
    return ranks < masked[:, None]
