"""Do a bundle's graphs predict what the simulated model predicted, as far as rounding lets them?

Asking for the same tokens again is the wrong question. Two right programs add floats in another
order; quantised inputs then fall on the other side of a rounding now and then, and where two tokens
are nearly as probable the other one is written, after which everything differs. So passes are frozen
at the export (`hwsearch.runtime.reference`), and predictions compared on them with the **noise
floor**: how far the simulation's own predictions move when its floats are disturbed by a few units
in the last place. Three rules, each with a margin for what the disturbance does not know of this
machine's kernels:

1. *Mean.* The mean KL divergence is at most `MARGIN` times that of the worst disturbed run, or
   `ARITHMETIC`, what 32-bit logits can tell apart. It sees faults that ruin some predictions.
2. *Typical.* KL divergences spread over many powers of ten, and the mean is that of few passes. So
   each pass is held against its own floor in the weakest runs, and in the median pass the ratio is at
   most `MARGIN`. It sees small faults, which move all passes a little; flips come here or there. Fewer
   than `MEDIAN_OF` passes have no median that a flip could not be, so there the worst run is the floor.
3. *Choices.* The most probable token is another at no more positions than the disturbed runs make
   likely, by three standard deviations on three times their rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.backend import Sampling
from hwsearch.decoding.trajectory import replay
from hwsearch.plan import CommitRule
from hwsearch.runtime.bundle import Bundle
from hwsearch.runtime.probe import LOGITS, ProbeBackend
from hwsearch.runtime.reference import References, divergence, log_probabilities

#: Times the noise floor that a right bundle's divergence may be.
MARGIN = 4.0

#: Passes, at least, whose median a single flip does not move.
MEDIAN_OF = 3

#: Nats that are too small to mean anything: logits around 10 in 32 bits are known to 1e-6.
ARITHMETIC = 1e-11

#: How far a confidence may be from that of the graph's own logits.
CONFIDENCE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Divergence:
    """A bundle held against its references.

    Attributes:
        kl: mean KL divergence from the simulation at the judged positions, in nats; NaN where an
            output is not a number.
        floor_kl: the same of the worst disturbed run.
        typical: median over passes of their divergence as a multiple of their floor.
        same: share of judged positions with the same most probable token.
        floor_same: the same over all disturbed runs.
        positions: how many were judged.
        passes: in how many passes.
        runs: disturbed runs behind the floors.
        broken: outputs that are not finite, and answers that are not those of the graph's own
            logits.
    """

    kl: float
    floor_kl: float
    typical: float
    same: float
    floor_same: float
    positions: int
    passes: int
    runs: int
    broken: tuple[str, ...] = ()

    @property
    def most_kl(self) -> float:
        """The largest mean divergence of a right bundle."""
        return MARGIN * self.floor_kl + ARITHMETIC

    @property
    def least_same(self) -> float:
        """The least share of equal choices of a right bundle."""
        runs = max(1, self.runs * self.positions)
        rate = ((1.0 - self.floor_same) * runs + 1.0) / (runs + 2.0)
        spread = math.sqrt(rate * (1.0 - rate) / max(1, self.positions))
        return max(0.0, 1.0 - 3.0 * (rate + spread))

    @property
    def is_close(self) -> bool:
        """Whether the predictions are the simulation's, as far as rounding lets them be."""
        near = self.kl <= self.most_kl and self.typical <= MARGIN
        return near and not self.broken and self.positions > 0

    @property
    def chooses_alike(self) -> bool:
        """Whether the choices are."""
        return self.positions > 0 and self.same >= self.least_same


def measure_divergence(bundle: Bundle, references: References, backend: ProbeBackend) -> Divergence:
    """Run every judged pass of a bundle again.

    Args:
        bundle: the bundle.
        references: its own.
        backend: its graphs.
    """
    kl, same = np.full(len(references), np.nan), np.zeros(len(references), dtype=bool)
    pass_rows: list[NDArray[np.int64]] = []
    broken: set[str] = set()
    for frozen, rows in references.passes(bundle):
        logits = replay(backend, frozen)[0, references.position[rows]]
        found = log_probabilities(logits, references.ids[rows])
        kl[rows] = divergence(references.logp[rows], found)
        same[rows] = logits.argmax(axis=-1) == references.ids[rows, 0]
        pass_rows.append(rows)
        broken.update(_false_answers(bundle, backend))
    floor = references.floor_kl.astype(np.float64)
    ratios = [
        (kl[rows].mean() + ARITHMETIC) / (one + ARITHMETIC)
        for rows, one in zip(pass_rows, _pass_floors(references, pass_rows), strict=True)
    ]
    return Divergence(
        kl=float(kl.mean()) if len(kl) else math.nan,
        floor_kl=float(floor.mean(axis=1).max()) if floor.size else math.nan,
        typical=float(np.median(ratios)) if ratios else math.nan,
        same=float(same.mean()) if len(same) else math.nan,
        floor_same=float(references.floor_same.mean()) if floor.size else math.nan,
        positions=len(references),
        passes=len(pass_rows),
        runs=len(floor),
        broken=tuple(sorted(backend.broken | broken)),
    )


def _pass_floors(references: References, pass_rows: Sequence[NDArray[np.int64]]) -> list[float]:
    """What each pass's divergence is held against in rule 2."""
    floor = references.floor_kl.astype(np.float64)
    if len(pass_rows) < MEDIAN_OF:
        return [float(floor[:, rows].mean(axis=1).max()) for rows in pass_rows]
    weak = floor[references.disturbances == references.disturbances.min(initial=np.inf)]
    return [float(weak[:, rows].mean()) for rows in pass_rows]


def _false_answers(bundle: Bundle, backend: ProbeBackend) -> list[str]:
    """Tokens and confidences of the last pass that are not those of its logits."""
    decoding = bundle.manifest.decoding
    if decoding.temperature > 0 or Sampling.of(decoding).credit is not None:
        return []  # noise or credit chose the tokens
    file, outputs = backend.last
    logits = outputs[LOGITS].astype(np.float64)
    wrong = []
    if (outputs["token"] != logits.argmax(axis=-1)).any():
        wrong.append(f"{file}: token is not the most probable one of its logits")
    if decoding.rule in (CommitRule.TOPK_MARGIN, CommitRule.ENTROPY):
        return wrong
    largest = logits.max(axis=-1, keepdims=True)
    confidence = 1.0 / np.exp(logits - largest).sum(axis=-1)
    if not np.allclose(outputs["confidence"], confidence, atol=CONFIDENCE_TOLERANCE):
        wrong.append(f"{file}: confidence is not the probability of its token")
    return wrong
