"""Generations made by hand."""

import numpy as np

from hwsearch.decoding.sampler import Generation
from hwsearch.plan import Decoding
from hwsearch.tasks.losses.pricing import Decoded, DecodedProblem

#: The mask and the end token of a tiny denoiser.
MASK, END = 0, 1


def decoded_of(prompt, tokens, written=None):
    """One problem decoded; `written` is one token a pass unless given."""
    written = list(range(len(tokens))) if written is None else written
    found = Generation(np.array([[*prompt, *tokens]]), np.array([written]), ())
    decoding = Decoding(
        gen_length=len(tokens), block_length=len(tokens), steps=len(tokens), refresh_interval=1
    )
    return Decoded(decoding, (DecodedProblem.of(found, 0, {END}),))
