"""Answer-digit likelihood: how probable the computed numbers are, given all words around them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import InputError
from hwsearch.tasks.losses.teacher_forcing import ForcedStates, answered, batches_of
from hwsearch.tasks.problem import Problem

#: Numbers that a GSM8K solution arrives at: in its calculator notes, after them, and in the end.
RESULT = re.compile(r"(?:(?<==)|(?<=>>)|(?<=#### ))-?[\d.,]*\d")


class AnswerDigits(ForcedStates):
    """The loss ``digits``, in nats per token of a computed number.

    All results of a solution are masked at once, its words and given numbers are not.
    """

    name = "digits"

    @classmethod
    def record(cls, denoiser: Denoiser, problems: Sequence[Problem]) -> AnswerDigits:
        """Mask the results of each problem.

        Raises:
            InputError: no answer fits what the model writes, or none holds a result.
        """
        rows = answered(denoiser, problems)
        length = denoiser.decoding.gen_length
        masked = np.array([result_tokens(row.text, row.encoding, length) for row in rows])
        if not masked.any():
            raise InputError(
                "no answer holds a result such as '<<3*4=12>>12' or '#### 12', which loss 'digits' asks "
                "for; calibrate on problems whose answers do, or take the loss nll or kl"
            )
        weights = masked / masked.sum()
        return cls(batches_of(rows, weights), denoiser.mask_token_id, denoiser.decoding)


def result_tokens(text: str, encoding: Encoding, length: int) -> NDArray[np.bool_]:
    """Which of `length` positions hold a token of a result; offsets count characters of `text`."""
    spans = [match.span() for match in RESULT.finditer(text)]
    found = np.zeros(length, dtype=bool)
    for index, (start, stop) in enumerate(encoding.offsets):
        found[index] = any(start < high and low < stop for low, high in spans)
    return found
