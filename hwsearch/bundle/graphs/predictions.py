"""What both graphs answer for the rows of a block, and the state they carry from pass to pass.

A graph has no memory. What a commit policy needs of the passes before comes in as an input, zeros in
the first pass over a block, and goes out as an output to be handed in again.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hwsearch.decoding.backend import Sampling
from hwsearch.denoisers.torch_backend import choose_tokens, credited, divergence_of, entropy_of
from hwsearch.runtime.state import CREDIT, LOGP, NEXT


def input_names(sampling: Sampling) -> list[str]:
    """Inputs ``[1, block, vocab]`` beside tokens and cache: noise, and the state of passes before."""
    noise = ["noise"] if sampling.temperature > 0 else []
    logp = [LOGP] if sampling.divergence else []
    return [*noise, *logp, *([CREDIT] if sampling.credit is not None else [])]


def output_names(sampling: Sampling) -> list[str]:
    """Token and confidence, what else a policy looks at, and the state to hand in again."""
    entropy = ["entropy"] if sampling.entropy else []
    divergence = ["divergence", NEXT + LOGP] if sampling.divergence else []
    credit = [NEXT + CREDIT] if sampling.credit is not None else []
    features = ["logits"] * sampling.logits + ["hidden"] * sampling.hidden
    return ["token", "confidence", *entropy, *divergence, *credit, *features]


def example_inputs(sampling: Sampling, block_length: int, vocab_size: int) -> list[Tensor]:
    """Zeros for `input_names`; noise is float64."""
    return [
        torch.zeros(
            1, block_length, vocab_size, dtype=torch.float64 if name == "noise" else torch.float32
        )
        for name in input_names(sampling)
    ]


def predicted(
    logits: Tensor,
    sampling: Sampling,
    given: Mapping[str, Tensor],
    hidden: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Values for `output_names` of logits ``[1, block, vocab]``.

    Args:
        logits: of the block.
        sampling: what is asked of them.
        given: holds `input_names`.
        hidden: what the logits are of, ``[1, block, width]``, where that is asked for.
    """
    features = [logits] * sampling.logits
    if sampling.hidden:
        assert hidden is not None
        features.append(hidden)
    if sampling.is_greedy:
        return logits.argmax(dim=-1), logits.softmax(dim=-1).amax(dim=-1), *features
    credit = []
    if sampling.credit is not None:
        logits, earned = credited(logits, given[CREDIT], sampling.credit)
        credit = [earned]
    found = list(choose_tokens(logits, sampling, given.get("noise")))
    if sampling.entropy:
        found.append(entropy_of(logits))
    if sampling.divergence:
        logp = logits.log_softmax(dim=-1)
        found += [divergence_of(logp, given[LOGP]), logp]
    return (*found, *credit, *features)
