"""The block-wise confidence sampler (LLaDA's low-confidence remasking), greedy."""

from __future__ import annotations

import numpy as np

from hwsearch.decoding.backend import Backend, Prediction, Tokens
from hwsearch.decoding.schedule import passes
from hwsearch.plan import Decoding


def generate(backend: Backend, prompts: Tokens, decoding: Decoding, mask_token_id: int) -> Tokens:
    """Write `decoding.gen_length` tokens after each prompt.

    The generated part starts as masks. Block by block, each pass predicts the block's masks and
    commits the most confident ones; committed tokens never change (arXiv 2502.09992, Algorithm 5).

    Args:
        backend: the model.
        prompts: ``[batch, prompt_length]``; all prompts of a batch have one length.
        decoding: lengths, number of passes, and how often the cache is refreshed.
        mask_token_id: the token that stands for "not written yet".

    Returns:
        Tokens ``[batch, prompt_length + gen_length]``, prompt included.
    """
    batch, prompt_length = prompts.shape
    blank = np.full((batch, decoding.gen_length), mask_token_id, dtype=np.int64)
    tokens = np.concatenate((prompts.astype(np.int64), blank), axis=1)
    backend.begin()
    for step in passes(decoding):
        start = prompt_length + step.start
        stop = start + decoding.block_length
        predict = backend.refresh if step.refresh else backend.step
        _commit(tokens[:, start:stop], predict(tokens, start, stop), step.quota, mask_token_id)
    return tokens


def _commit(block: Tokens, prediction: Prediction, quota: int, mask_token_id: int) -> None:
    """Write the `quota` most confident predictions over masks of `block`, in place, row by row."""
    confidence = np.where(block == mask_token_id, prediction.confidence, -np.inf)
    chosen = np.argsort(-confidence, axis=1, kind="stable")[:, :quota]
    chosen_tokens = np.take_along_axis(prediction.tokens, chosen, axis=1)
    still_masked = np.take_along_axis(confidence, chosen, axis=1) > -np.inf
    current = np.take_along_axis(block, chosen, axis=1)
    np.put_along_axis(block, chosen, np.where(still_masked, chosen_tokens, current), axis=1)
