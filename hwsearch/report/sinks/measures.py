"""Numbers of recorded trajectories that compare between models, problem by problem.

Positions are given as shares of the sequence's length, masses as multiples of their mean, so that
problems of different lengths can be put together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.sinks import SinkStatistics
from hwsearch.sinks.formulas import sink_count
from hwsearch.sinks.places import Place, find_places

Floats = NDArray[np.float64]

#: A sink's centre that wanders by less than this share of the length counts as standing still.
STILL = 0.05

RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class SinkMeasures:
    """One model's sinks over some problems; arrays are ``[problems, layers]`` unless said otherwise.

    Attributes:
        model: its name.
        causal: whether it is autoregressive.
        k: sinks of a pass.
        concentration: share of a pass's attention mass that its k sinks receive, mean over passes, as
            `SinkStatistics.concentration`: from `even` to 1.
        spatial: the paper's spatial variance, over positions, of the mean mass, in squared multiples of
            its mean: from 0 (even) to the length less 1 (one position has it all).
        temporal: standard deviation over passes of the sinks' centre, as a share of the length.
        overlap: share of the sinks that were sinks of the pass before.
        drift: how far the sinks' centre travels from first pass to last along its fitted line, as a
            share of the length; positive towards the end of the sequence.
        variance: ``1 - frequency``, mean over the positions that ever were sinks.
        centres: the sinks' centre, ``[problems, passes, layers]``.
        heat: mass by pass of one problem, ``[passes, layers, length]``.
        even: what `concentration` would be if attention were even, ``[problems]``.
        lengths: positions of each problem, ``[problems]``.
        places: where its sinks are, largest share of attention first.
    """

    model: str
    causal: bool
    k: float
    concentration: Floats = field(repr=False)
    spatial: Floats = field(repr=False)
    temporal: Floats = field(repr=False)
    overlap: Floats = field(repr=False)
    drift: Floats = field(repr=False)
    variance: Floats = field(repr=False)
    centres: Floats = field(repr=False)
    heat: Floats = field(repr=False)
    even: Floats = field(repr=False)
    lengths: Floats = field(repr=False)
    places: tuple[Place, ...] = field(repr=False, default=())

    @property
    def problems(self) -> int:
        """Problems recorded."""
        return len(self.spatial)

    def document(self) -> dict[str, Any]:
        """Everything as plain data."""
        arrays = ("concentration", "spatial", "temporal", "overlap", "drift", "variance", "centres")
        named = {name: getattr(self, name).round(6).tolist() for name in (*arrays, "heat")}
        return {"model": self.model, "causal": self.causal, "k": self.k, **named}


@dataclass(frozen=True)
class Interval95:
    """A mean over problems with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Finding:
    """One line of the paper's table, answered.

    Attributes:
        question: what is asked.
        claim: what the paper says of it.
        value: the model's own figure.
        against: the other model's; None where there is none.
        difference: the model's minus the other's, problem by problem; None where there is none.
        verdict: ``agrees``, ``disagrees`` or ``undecided``.
        words: the answer in a sentence.
    """

    question: str
    claim: str
    value: Interval95
    against: Interval95 | None
    difference: Interval95 | None
    verdict: str
    words: str

    def document(self) -> dict[str, Any]:
        """The finding as plain data."""
        return asdict(self)


def measure_sinks(model: str, causal: bool, recorded: Sequence[SinkStatistics]) -> SinkMeasures:
    """Measures of recorded groups of problems; the first must have kept masses by pass."""
    parts = [_of_group(part) for part in recorded]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    first = recorded[0].by_pass
    assert first is not None, "heat maps need masses by pass"
    return SinkMeasures(
        model,
        causal,
        recorded[0].k,
        heat=first[:, 0].astype(float),
        places=tuple(find_places(recorded)),
        **joined,
    )


def _of_group(part: SinkStatistics) -> dict[str, Floats]:
    there = part.present > 0
    length = there.sum(axis=1)
    mass = part.mean_mass.sum(axis=2)
    mean = mass.sum(axis=2) / length[:, None]
    # a sequence that is padded on the left begins at its first position, not at the row's
    centres = (part.centroids - part.first_position[None, :, None]) / length[None, :, None]
    slope = _slope(centres)
    ever = part.layer_hits > 0
    variance = (part.layer_variance * ever).sum(axis=2) / ever.sum(axis=2)
    return {
        "concentration": part.concentration.mean(axis=0),
        "spatial": part.spatial_variance / mean**2,
        "temporal": centres.std(axis=0),
        "overlap": part.overlap.mean(axis=0) if part.passes > 1 else np.ones(slope.shape),
        "drift": slope,
        "variance": variance,
        "centres": centres.transpose(1, 0, 2),
        "even": _even(part),
        "lengths": length.astype(float),
    }


def _slope(centres: Floats) -> Floats:
    """How far centres ``[passes, ...]`` travel along their fitted line; nowhere in one pass."""
    passes = np.linspace(-0.5, 0.5, len(centres))
    if len(centres) == 1:
        return np.zeros(centres.shape[1:])
    return np.tensordot(passes, centres - centres.mean(axis=0), axes=1) / (passes**2).sum()


def _even(part: SinkStatistics) -> Floats:
    """Share of the sinks among the positions that are there, mean over passes, ``[batch]``."""
    passes = np.arange(part.passes)[:, None, None]
    there = (passes >= part.passes - part.present[None]).sum(axis=-1)
    counts = np.array([[sink_count(part.k, int(count)) for count in row] for row in there])
    return (counts / there).mean(axis=0)


def findings(model: SinkMeasures, against: SinkMeasures | None = None) -> list[Finding]:
    """The paper's table answered for a model, beside another that answered the same problems.

    Where one is autoregressive and one is not, the claims are about their difference. Alone, a model
    is held to `STILL`; spatial variance has no claim about a single model.

    Args:
        model: the model.
        against: the other one, its problems in the same order.
    """
    rows = (
        (
            "spatial variance",
            "spatial",
            "autoregressive mass varies much over positions, diffusion mass is spread out",
        ),
        (
            "temporal stability",
            "temporal",
            "autoregressive sinks stand still, diffusion sinks wander",
        ),
        (
            "drift",
            "drift",
            "diffusion sinks travel as the text is written, autoregressive ones do not",
        ),
    )
    return [_finding(*row, model, against) for row in rows]


def _finding(
    question: str, name: str, claim: str, model: SinkMeasures, against: SinkMeasures | None
) -> Finding:
    # distance travelled counts, not its direction
    mine, other = (
        None if of is None else np.abs(getattr(of, name)).mean(axis=1) for of in (model, against)
    )
    assert mine is not None
    value = bootstrap(mine)
    if other is None or against is None or against.causal == model.causal:
        verdict = _alone(name, model.causal, value)
        beside = None if other is None else bootstrap(other)
        words = f"{question} of {model.model}: {value}; {_SAID[verdict]}."
        return Finding(question, claim, value, beside, None, verdict, words)
    # more of it is claimed for the autoregressive model in space, for the diffusion model in time
    sign = 1.0 if (name == "spatial") == model.causal else -1.0
    difference = bootstrap(mine - other)
    ends = sorted((sign * difference.low, sign * difference.high))
    verdict = "agrees" if ends[0] > 0 else "disagrees" if ends[1] < 0 else "undecided"
    beside = bootstrap(other)
    words = (
        f"{question}: {model.model} {value}, {against.model} {beside}, difference {difference}; "
        f"{_SAID[verdict]}."
    )
    return Finding(question, claim, value, beside, difference, verdict, words)


_SAID = {
    "agrees": "this agrees with the claim",
    "disagrees": "this contradicts the claim",
    "undecided": "this decides the claim neither way",
}


def _alone(name: str, causal: bool, value: Interval95) -> str:
    """Whether one model alone does as claimed of its kind."""
    if name == "spatial" or value.low <= STILL <= value.high:
        return "undecided"
    still = value.high < STILL
    return "agrees" if still == causal else "disagrees"


def bootstrap(values: Floats, seed: int = 0) -> Interval95:
    """Mean of ``[problems]`` and its percentile bootstrap interval over problems."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return Interval95(float(values.mean()), float(low), float(high))
