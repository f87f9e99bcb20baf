"""How stable a model's sinks are, layer by layer, and what share a threshold keeps.

Calibration decodes problems without a cache, so that every pass sees all positions, and counts in
how many passes each position was a sink. `variance = 1 - passes as a sink / passes`; a layer that
keeps `variance <= threshold` keeps on average the share this module reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from hwsearch.decoding.cache import ALMOST_ALL, TOP_SHARE
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.passes import backend_of, check_tells_mass
from hwsearch.errors import InputError
from hwsearch.plan import CompressionPlan, Frozen, explain

#: A layer keeps at least this share (and at least one position), whatever its threshold.
LEAST_SHARE = 1e-3


class SinkProfile(Frozen):
    """Distribution of sink variance over positions, for each layer.

    Attributes:
        rule: the keep rule that these shares belong to.
        top_share: share of the positions that count as sinks of one pass.
        passes: passes of each calibration trajectory.
        shares: for each layer the share of positions whose variance is at most 0/passes,
            1/passes, ..., passes/passes. The last is 1.
    """

    rule: str = "keep-stable"
    top_share: float = TOP_SHARE
    passes: int
    shares: tuple[tuple[float, ...], ...]

    def kept_share(self, layer: int, threshold: float) -> float:
        """Share of cached positions that a layer keeps at a threshold; 1.0 keeps all.

        >>> profile = SinkProfile(passes=2, shares=((0.25, 0.5, 1.0),))
        >>> [profile.kept_share(0, threshold) for threshold in (0.0, 0.49, 0.5, 0.99, 1.0)]
        [0.25, 0.25, 0.5, 0.5, 1.0]
        """
        share = self.shares[layer][int(threshold * self.passes + 1e-9)]
        return max(share, LEAST_SHARE)

    def kept_shares(self, plan: CompressionPlan) -> tuple[float, ...]:
        """Kept share of every layer of a plan."""
        return tuple(
            self.kept_share(index, layer.sink_threshold) for index, layer in enumerate(plan.layers)
        )

    @classmethod
    def keeping_all(cls, num_layers: int) -> SinkProfile:
        """For a model that caches nothing, so that there is nothing to drop."""
        return cls(passes=1, shares=((1.0, 1.0),) * num_layers)

    @classmethod
    def read(cls, path: Path) -> SinkProfile:
        """Read a profile from JSON. Raises `InputError`, naming file and key."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"cannot read sink profile {path}: {error.strerror}") from error
        except ValidationError as error:
            raise InputError(f"{path}: {explain(error)}") from error


def calibrate_sinks(denoiser: Denoiser, questions: Sequence[str]) -> SinkProfile:
    """Sink profile of a model from how it answers some questions.

    Args:
        denoiser: the uncompressed model.
        questions: calibration questions; a few dozen are enough.

    Raises:
        InputError: the model does not tell its attention mass.
    """
    decoding = denoiser.decoding.model_copy(update={"refresh_interval": 1})
    layers = denoiser.num_layers
    check_tells_mass(denoiser)
    backend = backend_of(denoiser.network, [ALMOST_ALL] * layers)
    counts = np.zeros((layers, decoding.steps + 1))
    for question in questions:
        prompt = np.array([denoiser.prompt(question)])
        generate(backend, prompt, decoding, denoiser.mask_token_id)
        for layer, history in backend.history().items():
            misses = decoding.steps - history.hits.astype(int).ravel()
            counts[layer] += np.bincount(misses, minlength=decoding.steps + 1)
    shares = counts.cumsum(axis=1) / counts.sum(axis=1, keepdims=True)
    return SinkProfile(passes=decoding.steps, shares=tuple(map(tuple, shares.round(6).tolist())))
