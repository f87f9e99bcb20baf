"""The block-wise sampler: LLaDA's and Dream's rules of which masks a pass writes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.backend import GREEDY, Backend, Sampling, Tokens
from hwsearch.decoding.schedule import Pass, passes
from hwsearch.plan import CommitRule, Decoding


def generate(
    backend: Backend,
    prompts: Tokens,
    decoding: Decoding,
    mask_token_id: int,
    *,
    seed: int = 0,
) -> Tokens:
    """Write `decoding.gen_length` tokens after each prompt.

    The generated part starts as masks. Block by block, each pass predicts the block's masks and
    writes those that `decoding.rule` chooses; written tokens never change (arXiv 2502.09992,
    Algorithm 5; arXiv 2508.15487).

    Args:
        backend: the model.
        prompts: ``[batch, prompt_length]``; all prompts of a batch have one length.
        decoding: lengths, number of passes, how often the cache is refreshed, and the rule.
        mask_token_id: the token that stands for "not written yet".
        seed: of all chance, where the rule or a temperature leaves anything to it. A row's draws
            depend on its place in the batch.

    Returns:
        Tokens ``[batch, prompt_length + gen_length]``, prompt included.
    """
    batch, prompt_length = prompts.shape
    blank = np.full((batch, decoding.gen_length), mask_token_id, dtype=np.int64)
    tokens = np.concatenate((prompts.astype(np.int64), blank), axis=1)
    sampling, rng = Sampling.of(decoding, seed), np.random.default_rng((seed, 1))
    backend.begin() if sampling == GREEDY else backend.begin(sampling=sampling)
    for step in passes(decoding):
        start = prompt_length + step.start
        block = tokens[:, start : start + decoding.block_length]
        predict = backend.refresh if step.refresh else backend.step
        found = predict(tokens, start, start + decoding.block_length)
        masked = block == mask_token_id
        chosen = _chosen(masked, found.confidence, step, decoding.rule, rng)
        block[chosen] = found.tokens[chosen]
    return tokens


def _chosen(
    masked: NDArray[np.bool_],
    confidence: NDArray[np.float32],
    step: Pass,
    rule: CommitRule,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """The masks ``[batch, block]`` that a pass writes."""
    if rule is CommitRule.ORIGIN:
        return masked & (rng.random(masked.shape) < step.share)
    worth = rng.random(masked.shape) if rule is CommitRule.RANDOM else confidence
    best = np.argsort(-np.where(masked, worth, -np.inf), axis=1, kind="stable")[:, : step.quota]
    chosen = np.zeros_like(masked)
    np.put_along_axis(chosen, best, True, axis=1)
    return masked & chosen
