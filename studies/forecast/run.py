"""Passes that forecasts save on gsm-mini, against what saves passes without them.

    python studies/forecast/run.py [--problems 500] [--formats fp32] [-o FOLDER]

Every method is fitted on calibration questions after compression and answers the same test
problems in torch, at several thresholds, on top of threshold decoding with and without `advance`. The
controls are lower thresholds of the policy itself, credit, and reuse of the last logits. Refreshes,
advances and steps of each problem are counted, and told as the paired difference to the same decoding
without a forecast; so is accuracy (Newcombe's interval). Intervals of passes are of a paired bootstrap
over problems. `verified` is the share of foreseen tokens that the pass after them chose alike, in a run
that writes none of them. `fit_seconds` holds the answers that are fitted on. Writes saved.csv.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.passes import PassKind
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.forecasts import embeddings_of
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.denoisers.network import Network
from hwsearch.forecast.fitting import fit
from hwsearch.latency.devices.environment import this_machine
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.tasks.catalog import GSM_MINI
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.gsm_mini.generator import problems
from hwsearch.tasks.losses.pricing import Decoded, DecodedProblems
from hwsearch.tasks.problem import Problem
from hwsearch.tasks.statistics import compare

HERE = Path(__file__).parent

#: What forecasts are added to.
BASES: dict[str, dict[str, Any]] = {
    "threshold .9": {"commit": {"policy": "threshold"}, "stop_at_end": True},
    "threshold .9, advance": {
        "commit": {"policy": "threshold"},
        "stop_at_end": True,
        "window": {"advance": True},
    },
}

#: What saves passes without a forecast, as changes of a base.
CONTROLS: dict[str, dict[str, Any]] = {
    "threshold .8": {"commit": {"policy": "threshold", "threshold": 0.8}},
    "threshold .7": {"commit": {"policy": "threshold", "threshold": 0.7}},
    "credit": {"commit": {"policy": "credit"}},
}

#: Forecasts that are tried: `Reuse` at .9 writes what the policy has written.
FORECASTS: tuple[dict[str, Any], ...] = (
    {"method": "reuse", "threshold": 0.8},
    {"method": "history", "threshold": 0.9},
    {"method": "history", "threshold": 0.8},
    {"method": "ridge", "threshold": 0.9},
    {"method": "ridge", "threshold": 0.8},
    {"method": "low-rank", "threshold": 0.95},
    {"method": "low-rank", "threshold": 0.9},
    {"method": "low-rank", "threshold": 0.8},
    {"method": "low-rank", "threshold": 0.9, "depth": 3},
    {"method": "golden", "threshold": 0.95},
    {"method": "golden", "threshold": 0.9},
    {"method": "golden", "threshold": 0.8},
)

#: Resamples of problems behind an interval.
RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Answers:
    """What one network answered by one decoding.

    Attributes:
        decoded: what it wrote, problem by problem.
        is_right: whether each problem was solved.
    """

    decoded: Decoded
    is_right: tuple[bool, ...]

    def passes(self, kind: PassKind | None = None) -> NDArray[np.float64]:
        """Passes of a kind, or of all, for each problem."""
        found = [
            sum(n for shape, n in problem.passes.items() if kind in (None, shape.kind))
            for problem in self.decoded.problems
        ]
        return np.array(found, dtype=np.float64)

    @cached_property
    def foreseen(self) -> tuple[int, int]:
        """Tokens that forecasts named, and how many of them were confirmed."""
        found = {id(problem.found): problem.found for problem in self.decoded.problems}
        masks = [(one.foreseen, one.confirmed) for one in found.values()]
        return tuple(  # type: ignore[return-value]
            sum(int(mask[part].sum()) for mask in masks if mask[part] is not None)  # type: ignore[union-attr]
            for part in range(2)
        )


class Bench:
    """Answers problems by any decoding, in one weight format."""

    def __init__(self, denoiser: Denoiser, fmt: str, asked: Sequence[Problem]) -> None:
        self.denoiser, self.format, self.asked = denoiser, fmt, tuple(asked)
        self.kept = KeptShares.keeping_all(denoiser.num_layers)
        plan = CompressionPlan.uniform(denoiser.num_layers, fmt, fmt, head=fmt)
        self.network = compress(denoiser, plan).network
        self.problems = DecodedProblems(denoiser, asked)
        self.fitter = TaskChoice().fitter(denoiser)

    def answer(self, decoding: Decoding, network: Network | None = None) -> Answers:
        """What is answered by a decoding; `network` has the forecast that it asks for."""
        found = self.problems.decoded(network or self.network, self.kept, decoding)
        texts = self.problems.texts(found)
        score = GSM_MINI.scores(self.asked, texts)[GSM_MINI.filters[0].name]
        return Answers(found, tuple(score.correct))

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each decoding."""
        for base, changes in BASES.items():
            plain = self.denoiser.decoding.changed(changes)
            reference = self.answer(plain)
            yield self._row({"base": base, "method": "none"}, reference, reference)
            for name, control in CONTROLS.items():
                found = self.answer(plain.changed(control))
                yield self._row({"base": base, "method": name}, found, reference)
            began = time.perf_counter()
            passes = self.fitter.watched(self.network, self.kept, plain)
            watched = time.perf_counter() - began
            for settings in FORECASTS:
                foreseeing = plain.changed({"forecast": settings})
                began = time.perf_counter()
                network = self.network.foreseeing(
                    fit(foreseeing.forecast, passes, embeddings_of(self.network))
                )
                seconds = {"fit_seconds": watched + time.perf_counter() - began}
                found = self.answer(foreseeing, network)
                shadow = None
                if settings["threshold"] == 0.9 and "depth" not in settings:
                    verifying = plain.changed({"forecast": settings | {"verify": True}})
                    shadow = self.answer(verifying, network)
                yield self._row({"base": base} | settings | seconds, found, reference, shadow)

    def _row(
        self,
        told: dict[str, Any],
        found: Answers,
        reference: Answers,
        shadow: Answers | None = None,
    ) -> dict[str, Any]:
        against = compare(found.is_right, reference.is_right)
        saved = reference.passes() - found.passes()
        low, high = interval(saved)
        named, confirmed = (0, 0) if shadow is None else shadow.foreseen
        row = {
            "format": self.format,
            **told,
            "problems": len(self.asked),
            **{kind.value: found.passes(kind).mean() for kind in PassKind},
            "saved": saved.mean(),
            "saved_low": low,
            "saved_high": high,
            "accuracy": np.mean(found.is_right),
            "difference": against.difference,
            "difference_low": against.interval.low,
            "difference_high": against.interval.high,
            "foreseen": found.foreseen[0] / len(self.asked),
            "verified": confirmed / named if named else None,
        }
        print({k: f"{v:.3f}" if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        return row


def interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """95 % interval of a mean over problems, by resampling them."""
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (RESAMPLES, len(values))).mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5)).tolist()
    return low, high


def main() -> None:
    """Answer by every decoding, and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--formats", default="fp32")
    parser.add_argument("-o", "--out", type=Path, default=HERE)
    options = parser.parse_args()
    print(this_machine())
    denoiser = load_denoiser("gsm-mini")
    asked = list(islice(problems("test"), options.problems))
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for fmt in options.formats.split(","):
        for row in Bench(denoiser, fmt, asked).rows():
            rows.append(row)
            pd.DataFrame(rows).to_csv(options.out / "saved.csv", index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
