"""Scales of inputs: large inputs are divided, and their weights multiplied, before both are rounded.

SmoothQuant (arXiv 2211.10438) moves outliers of inputs into weights by ``max|x|^α / max|w|^(1 - α)``. Here
scales are powers of two, so that dividing is exact, wherever in a graph it is done. Formats in blocks have
none: AWQ's (arXiv 2306.00978), the same for their sake, were no better beside GPTQ (studies/formats).
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Exponents of the inputs' magnitudes that are tried.
ALPHAS = (0.25, 0.5, 0.6, 0.7, 0.8, 0.85)

#: Scales reach so many powers of two either way.
MOST = 24


def power_of_two(scale: Tensor) -> Tensor:
    """The nearest powers of two to positive scales; 1 in place of what is no positive number."""
    exponent = torch.log2(scale.double()).round()
    exponent = torch.where(exponent.isfinite(), exponent, 0.0).clamp(-MOST, MOST)
    return torch.exp2(exponent).float()


def balanced(inputs: Tensor, weights: Tensor, alpha: float) -> Tensor:
    """Scales ``[in]`` of inputs by their magnitudes and those of their weights.

    Args:
        inputs: magnitude of each input, ``[in]``.
        weights: of its weights.
        alpha: how much of the inputs' differences moves into the weights, 0 to 1.
    """
    scale = inputs.double() ** alpha / weights.double().clamp_min(1e-12) ** (1 - alpha)
    alive = scale[(inputs > 0) & (weights > 0)]
    middle = alive.log().mean().exp() if len(alive) else torch.ones(())
    return power_of_two(torch.where((inputs > 0) & (weights > 0), scale / middle, 1.0))
