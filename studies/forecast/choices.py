"""Which numbers and features of forecasts help, one changed at a time.

    python studies/forecast/choices.py [--calibration 512] [--validation 400] [-o FOLDER]

Fits on the passes that gsm-mini's threshold of .9 takes for calibration problems, and judges on those
of validation problems: R2 and agreement of all forecasts, and what a threshold of .9 and .95 would
write of them. Writes choices.csv.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from judged import THRESHOLDS, committed, explained, judged, spared
from trajectories import DECODINGS, Written, collect, questions

from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.forecast.fitting import fit
from hwsearch.forecast.methods import features, low_rank
from hwsearch.forecast.settings import METHODS

BASE = "threshold .9"

#: What is varied of each method's defaults.
CHOICES: list[tuple[str, dict[str, Any]]] = [
    ("reuse", {}),
    *(("history", {"weight": w}) for w in (0.1, 0.3, 0.7, 1.5)),
    *(("ridge", {"passes": p}) for p in (1, 2, 3)),
    ("ridge", {"bins": 1}),
    ("ridge", {"bins": 16}),
    *(("low-rank", {"penalty": p}) for p in (0.01, 0.1, 0.3, 1.0, 3.0)),
    # so large a penalty leaves copying alone
    *(("low-rank", {"copy_penalty": c, "penalty": 1e9}) for c in (30.0, 300.0)),
    *(("low-rank", {"copy_penalty": c}) for c in (None, 30.0, 100.0, 300.0, 1000.0, 3000.0)),
    *(("low-rank", {"rank": r}) for r in (4, 8, 16, 32, 64, 128)),
    ("golden", {}),
    *(("golden", {"choose": c}) for c in ("k-centre", "leverage")),
    *(("golden", {"neighbours": n}) for n in (4, 8, 16, 32, 64)),
    *(("golden", {"coreset": c}) for c in (64, 128, 256, 512, 1024)),
    *(("golden", {"coreset": 1024, "neighbours": n}) for n in (32, 64)),
    *(("golden", {"coreset": 1024, "neighbours": n, "choose": "leverage"}) for n in (16, 32, 64)),
]

#: Which parts a map sees, nothing copied: the mask's state, and relations to what was written.
PARTS = {
    "state": (True, ()),
    "left, right": (False, (0, 1)),
    "near": (False, (2,)),
    "left, right, near": (False, (0, 1, 2)),
    "state, left": (True, (0,)),
    "state, left, right": (True, (0, 1)),
    "state, near": (True, (2,)),
}


@contextmanager
def seeing(kept: Sequence[int]) -> Iterator[None]:
    """Relations other than these weigh nothing."""
    whole = features.relations

    def some(situation: Any) -> Any:
        weights = whole(situation)
        weights[[place for place in range(len(weights)) if place not in kept]] = 0.0
        return weights

    with patch.object(features, "relations", some), patch.object(low_rank, "relations", some):
        yield


def stateless(blocks: Sequence[Written]) -> list[Written]:
    """Blocks whose hidden states say nothing."""
    return [
        replace(one, passes=replace(one.passes, hidden=np.zeros_like(one.passes.hidden)))
        for one in blocks
    ]


def row_of(
    method: str,
    changes: dict[str, Any],
    fitted: Sequence[Written],
    held: Sequence[Written],
    emb: Any,
) -> dict[str, Any]:
    """One choice, fitted and judged."""
    settings = METHODS[method](**changes)
    began = time.process_time()
    found = fit(settings, [one.passes for one in fitted], emb)
    row: dict[str, Any] = {"fit seconds": time.process_time() - began}
    seen = judged(found.method, held, settings.bins)
    every = np.ones(len(seen.bin), dtype=bool)
    row |= explained(seen, every)
    problems = len({one.problem for one in held})
    for threshold in (0.9, 0.95):
        place = THRESHOLDS.index(threshold)
        told = committed(seen, every, place) | spared(seen, problems, place)
        names = (
            "written",
            "right",
            "right low",
            "spared",
            "spared low",
            "spared high",
            "wrong blocks",
        )
        row |= {f"{name} {threshold:g}": told[name] for name in names}
    return row


def main(collected: Callable[[str, int], list[Written]] | None = None) -> None:
    """Judge every choice."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calibration", type=int, default=512)
    parser.add_argument("--validation", type=int, default=400)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    denoiser = load_denoiser("gsm-mini")
    embeddings = denoiser.network.model.embed_tokens.weight.detach().numpy()

    def passes(split: str, count: int) -> list[Written]:
        return collect(denoiser, DECODINGS[BASE], questions(split, count))[0]

    collected = collected or passes
    fitted, held = (
        collected(split, getattr(options, split)) for split in ("calibration", "validation")
    )
    rows = []

    def note(name: str, said: str, row: dict[str, Any]) -> None:
        rows.append({"method": name, "choice": said, **row})
        print(
            pd.DataFrame(rows[-1:]).round(3).to_string(header=len(rows) == 1, index=False),
            flush=True,
        )

    for name, changes in CHOICES:
        said = ", ".join(f"{key} {value}" for key, value in changes.items())
        note(name, said, row_of(name, changes, fitted, held, embeddings))
    for said, (state, kept) in PARTS.items():
        with seeing(kept):
            some = [one if state else stateless(one) for one in (fitted, held)]
            plain = {"copy_penalty": None}
            note("low-rank", f"sees {said}", row_of("low-rank", plain, *some, embeddings))
    for share in (0.125, 0.25, 0.5):
        most = max(one.problem for one in fitted) * share
        own = [one for one in fitted if one.problem <= most]
        note(
            "low-rank", f"{share:g} of the problems", row_of("low-rank", {}, own, held, embeddings)
        )
    pd.DataFrame(rows).to_csv(options.out / "choices.csv", index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
