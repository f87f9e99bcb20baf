"""How well the next pass of gsm-mini is forecast, and what that would spare.

    python studies/forecast/offline.py [--calibration 512] [--validation 400] [-o FOLDER]

Passes are written down as decodings make them, without any forecast; forecasts are fitted on those of
calibration problems and judged on those of validation problems, and `oracle` foresees each pass as it
will be. The makers' schedule takes ten times as many passes, so of it a quarter of the problems is
taken. Intervals are of a bootstrap over problems. Writes

    changes.csv    R2 and agreement, by decoding, method and share of the block that is masked
    commits.csv    what forecast thresholds would write of the masks, and how much of it is right
    passes.csv     passes a generation, and those that a forecast spares by filling its block
    fits.csv       seconds of a fit on one core, its numbers, and microseconds of one forecast
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from judged import THRESHOLDS, Oracle, committed, explained, judged, spared
from numpy.typing import NDArray
from trajectories import DECODINGS, Written, collect, questions

from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.forecast.fitting import JudgedForecast, fit
from hwsearch.forecast.methods.reuse import ReusedLogits
from hwsearch.forecast.passes import Floats
from hwsearch.forecast.settings import METHODS
from hwsearch.latency.devices.environment import this_machine

#: One forecast is timed over so many transitions.
TIMED = 200


@dataclass
class Tables:
    """Rows of each file."""

    changes: list[dict[str, Any]] = field(default_factory=list)
    commits: list[dict[str, Any]] = field(default_factory=list)
    passes: list[dict[str, Any]] = field(default_factory=list)
    fits: list[dict[str, Any]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write all of them."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in vars(self).items():
            file = folder / f"{name}.csv"
            pd.DataFrame(rows).to_csv(file, index=False, float_format="%.4f")


def judge_into(
    tables: Tables, names: dict[str, str], method: Any, held: Sequence[Written], bins: int
) -> None:
    """Rows of one method."""
    found = judged(method, held, bins)
    problems = len({one.problem for one in held})
    for where, masks in _bins(found.bin, bins):
        share = {"masked share": where}
        tables.changes.append(names | share | explained(found, masks))
        for place, threshold in enumerate(THRESHOLDS):
            row = {"threshold": threshold} | committed(found, masks, place)
            tables.commits.append(names | share | row)
    for place, threshold in enumerate(THRESHOLDS):
        tables.passes.append(names | {"threshold": threshold} | spared(found, problems, place))


def _bins(bin_: NDArray[np.int64], bins: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each bin that has masks, and all of them."""
    yield "all", np.ones(len(bin_), dtype=bool)
    for place in np.unique(bin_):
        yield f"{place / bins:g} to {(place + 1) / bins:g}", bin_ == place


def microseconds(found: JudgedForecast, held: Sequence[Written]) -> float:
    """Median of one forecast, as a generation asks for it, its gates open."""
    settings = found.settings.model_copy(update={"least_agreement": 0.0, "least_r2": -1e9})
    figures = tuple(type(one)(1, 1.0, 1.0, 1, 1, 1, 1) for one in found.figures)
    forecaster = JudgedForecast(settings, found.method, figures).forecaster()
    seconds = []
    for block in held[:TIMED]:
        passes = block.passes
        forecaster.begin()
        for index in range(len(passes.masked) - 1):
            now, after = np.s_[index : index + 1], np.s_[index + 1 : index + 2]
            hidden = None if passes.hidden is None else passes.hidden[now]
            began = time.perf_counter()
            forecaster.see(passes.logits[now], hidden, passes.masked[now])
            forecaster.foresee(passes.tokens[after], passes.masked[after])
            seconds.append(time.perf_counter() - began)
    return 1e6 * float(np.median(seconds))


def study(
    tables: Tables, decoding: str, fitted: Sequence[Written], held: Sequence[Written], emb: Floats
) -> None:
    """Every method, for one decoding."""
    for name, kind in METHODS.items():
        settings, began = kind(), time.process_time()
        found = fit(settings, [one.passes for one in fitted], emb)
        seconds = time.process_time() - began
        names = {"decoding": decoding, "method": name}
        judge_into(tables, names, found.method, held, settings.bins)
        tables.fits.append(
            names
            | {
                "problems": len({one.problem for one in fitted}),
                "seconds": seconds,
                "numbers": sum(array.size for array in found.method.arrays().values()),
                "microseconds": microseconds(found, held),
                "open bins": "".join("01"[one] for one in found.trusted),
            }
        )
        print(
            pd.DataFrame(tables.fits[-1:]).to_string(header=name == "reuse", index=False),
            flush=True,
        )
    judge_into(tables, {"decoding": decoding, "method": "oracle"}, Oracle(ReusedLogits()), held, 4)


def main() -> None:
    """Collect, fit and judge, decoding by decoding."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calibration", type=int, default=512)
    parser.add_argument("--validation", type=int, default=400)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    print(this_machine())
    denoiser, tables = load_denoiser("gsm-mini"), Tables()
    embeddings = denoiser.network.model.embed_tokens.weight.detach().numpy()
    for name, changes in DECODINGS.items():
        share = 4 if name == "makers" else 1
        some = (
            collect(denoiser, changes, questions(split, getattr(options, split) // share))[0]
            for split in ("calibration", "validation")
        )
        study(tables, name, *some, embeddings)
        tables.write(options.out)
    print(pd.DataFrame(tables.passes).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
