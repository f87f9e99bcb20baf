"""How stable a model's sinks are, layer by layer, and what share a threshold keeps.

Calibration decodes problems without a cache, so that every pass sees all positions, and counts in
how many passes each position was a sink. `variance = 1 - passes as a sink / passes`; a layer that
keeps `variance <= threshold` keeps on average the share this module reports. By the rule
`drop-transient` it keeps `transience <= threshold` instead, which it reports too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from hwsearch.decoding.batches import Given, batches_of_equal_length
from hwsearch.decoding.cache import ALMOST_ALL, TOP_SHARE, Floats, SinkHistory
from hwsearch.decoding.kept import FIRST, KeptPlan, KeptShares, StaticScores
from hwsearch.decoding.rules import SINK_SCORES
from hwsearch.decoding.sampler import advancing, generation
from hwsearch.denoisers.backends import backend_of, check_tells_mass
from hwsearch.denoisers.caching.folder import CACHED_FILE
from hwsearch.denoisers.caching.results import remembered
from hwsearch.denoisers.chat.asking import Question
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import InputError
from hwsearch.files import FileKind, checked, parse_json, read_schema
from hwsearch.files.kinds import MIB
from hwsearch.plan import CacheRule, CompressionPlan
from hwsearch.progress import work
from hwsearch.schema import MOST_LAYERS, MOST_LENGTH, Frozen

#: A layer keeps at least this share (and at least one position), whatever its threshold.
LEAST_SHARE = 1e-3

#: Most questions of one prompt length that are decoded together.
BATCH = 16

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Shares = Annotated[
    tuple[Annotated[tuple[Share, ...], Field(min_length=1)], ...],
    Field(min_length=1, max_length=MOST_LAYERS),
]

#: The file of a profile.
PROFILE_FILE = FileKind("sink profile", 64 * MIB)


class SinkProfile(Frozen):
    """Distribution of sink variance over positions, for each layer.

    Attributes:
        rule: the keep rule that `shares` belong to.
        top_share: share of the positions that count as sinks of one pass.
        passes: passes of each calibration trajectory.
        shares: for each layer the share of positions whose variance is at most 0/passes,
            1/passes, ..., passes/passes. The last is 1.
        transient_shares: the same of transience, for the rule `drop-transient`; None in profiles
            that were written before there was such a rule.
        refreshes: refreshes of a generation as the model's makers decode it.
        static: scores of positions by rule, for policies that do not score anew at each refresh.
    """

    rule: str = "keep-stable"
    top_share: float = TOP_SHARE
    passes: Annotated[int, Field(ge=1, le=MOST_LENGTH)]
    shares: Shares
    transient_shares: Shares | None = None
    refreshes: Annotated[int, Field(ge=1, le=MOST_LENGTH)] = 1
    static: dict[CacheRule, StaticScores] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _of_one_size(self) -> Self:
        for name, shares in (("shares", self.shares), ("transient_shares", self.transient_shares)):
            sizes = {len(layer) for layer in shares or ()}
            if sizes - {self.passes + 1}:
                raise ValueError(
                    f"{name} must have {self.passes + 1} values a layer, one more than passes; "
                    f"got {sorted(sizes)}"
                )
        if self.transient_shares is not None and len(self.transient_shares) != len(self.shares):
            raise ValueError("transient_shares must be of as many layers as shares")
        for rule, scores in self.static.items():
            if {len(scores.first), len(scores.from_end)} != {len(self.shares)}:
                raise ValueError(f"static.{rule.value} must be of as many layers as shares")
        return self

    def kept_share(
        self, layer: int, threshold: float, rule: CacheRule = CacheRule.KEEP_STABLE
    ) -> float:
        """Share of cached positions that a layer keeps at a threshold; 1.0 keeps all.

        Rules that know no variance keep the threshold itself as their share.

        >>> profile = SinkProfile(passes=2, shares=((0.25, 0.5, 1.0),))
        >>> [profile.kept_share(0, threshold) for threshold in (0.0, 0.49, 0.5, 0.99, 1.0)]
        [0.25, 0.25, 0.5, 0.5, 1.0]
        >>> profile.kept_share(0, 0.4, CacheRule.RECENT)
        0.4

        Raises:
            InputError: the profile was written before there was a rule `drop-transient`.
        """
        shares = {
            CacheRule.KEEP_STABLE: self.shares,
            CacheRule.DROP_TRANSIENT: self.transient_shares,
        }
        if threshold == 1.0 or rule not in shares:
            return max(threshold, LEAST_SHARE)
        table = shares[rule]
        if table is None:
            raise InputError(
                "this sink profile holds no shares for drop-transient; calibrate the sinks again"
            )
        return max(table[layer][int(threshold * self.passes + 1e-9)], LEAST_SHARE)

    def keep(self, plan: CompressionPlan) -> KeptPlan:
        """A plan with what its thresholds keep. Raises as `kept_shares`."""
        return KeptPlan(plan, self.kept_shares(plan))

    def kept_shares(self, plan: CompressionPlan) -> KeptShares:
        """Kept share of every layer of a plan, and the plan's rule.

        Raises:
            InputError: the profile holds no shares by the plan's rule.
            PlanError: the plan asks for calibrated scores by a rule that has none.
        """
        policy = plan.cache
        return KeptShares(
            tuple(
                self.kept_share(index, layer.sink_threshold, policy.rule)
                for index, layer in enumerate(plan.layers)
            ),
            policy,
            self.refreshes if plan.decoding is None else plan.decoding.refreshes,
            None if policy.running else self.static.get(policy.rule),
        )

    @classmethod
    def keeping_all(cls, num_layers: int, refreshes: int = 1) -> SinkProfile:
        """Where nothing is dropped, so that nothing need be calibrated."""
        return cls(passes=1, shares=((1.0, 1.0),) * num_layers, refreshes=refreshes)

    @classmethod
    def read(cls, path: Path) -> SinkProfile:
        """Read a profile from JSON. Raises `InputError`, naming file and key."""
        return read_schema(path, PROFILE_FILE, cls)


def calibrate_sinks(denoiser: Denoiser, questions: Sequence[Question]) -> SinkProfile:
    """Sink profile of a model from how it answers some questions.

    Args:
        denoiser: the uncompressed model.
        questions: calibration questions; a few dozen are enough.

    Raises:
        InputError: the model does not tell its attention mass, or there are no questions.
    """
    if not questions:
        raise InputError("calibrating sinks needs at least one question; none are given")
    check_tells_mass(denoiser)
    prompts = [denoiser.given(question) for question in questions]
    text = remembered(
        "sinks",
        denoiser,
        [repr(prompts)],
        lambda: _calibrated(denoiser, prompts).model_dump_json(),
    )
    found = parse_json(text, "cached sink profile", CACHED_FILE)
    return checked(SinkProfile, found, "cached sink profile", CACHED_FILE)


def _calibrated(denoiser: Denoiser, prompts: Sequence[Given]) -> SinkProfile:
    decoding = denoiser.decoding.scheduled().model_copy(update={"refresh_interval": 1})
    layers = denoiser.num_layers
    backend = backend_of(denoiser.network, KeptShares((ALMOST_ALL,) * layers))
    sums = _Accumulator(layers, decoding.steps)
    with work("calibrating sinks", len(prompts) * decoding.steps) as advance:
        for group in batches_of_equal_length(prompts, BATCH):
            generation(
                backend,
                group.prompts,
                decoding,
                denoiser.mask_token_id,
                on_pass=advancing(advance),
                suffixes=group.suffixes,
            )
            sums.add(backend.history())
    return SinkProfile(
        passes=decoding.steps,
        shares=_cumulated(sums.misses),
        transient_shares=_cumulated(sums.transient),
        refreshes=denoiser.decoding.scheduled().refreshes,
        static={rule: sums.static(rule) for rule in SINK_SCORES},
    )


class _Accumulator:
    """What calibration adds up: counts of positions by variance, and mean scores by position."""

    def __init__(self, layers: int, passes: int) -> None:
        self.passes = passes
        self.misses = np.zeros((layers, passes + 1))
        self.transient = np.zeros((layers, passes + 1))
        self._scores: dict[CacheRule, list[list[Floats]]] = {
            rule: [[] for _ in range(layers)] for rule in SINK_SCORES
        }

    def add(self, histories: Mapping[int, SinkHistory]) -> None:
        """Count one whole generation."""
        for layer, history in histories.items():
            misses = self.passes - history.hits.astype(int).ravel()
            transient = np.ceil(history.transience.ravel() * self.passes - 1e-9).astype(int)
            self.misses[layer] += np.bincount(misses, minlength=self.passes + 1)
            self.transient[layer] += np.bincount(transient, minlength=self.passes + 1)
            for rule, score in SINK_SCORES.items():
                self._scores[rule][layer].extend(score(history))

    def static(self, rule: CacheRule) -> StaticScores:
        """Mean score of each position by a rule, counted from the start and from the end."""
        return StaticScores(
            first=tuple(_mean([row[:FIRST] for row in rows]) for rows in self._scores[rule]),
            from_end=tuple(_mean([row[::-1] for row in rows]) for rows in self._scores[rule]),
        )


def _mean(rows: Sequence[Floats]) -> tuple[float, ...]:
    """Means over rows that begin together and end where they end."""
    longest = max(map(len, rows))
    padded = np.array(
        [np.pad(row, (0, longest - len(row)), constant_values=np.nan) for row in rows]
    )
    return tuple(np.nanmean(padded, axis=0).round(6).tolist())


def _cumulated(counts: Floats) -> Shares:
    shares = counts.cumsum(axis=1) / counts.sum(axis=1, keepdims=True)
    return tuple(map(tuple, shares.round(6).tolist()))
