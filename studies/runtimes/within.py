"""Where the time of a generation goes: its passes in place, the same passes alone, and what is between them.

    python studies/runtimes/within.py [--runtime onnxruntime-openvino] [--bundles FOLDER] [-o FOLDER]

Exports gsm-mini in floats and in w8a8, by the makers' schedule of 48 passes and by a threshold with a stop,
without and with `advance`. Each bundle answers 48 problems that no prediction has seen. Of every pass it is
noted what came before it: R is a refresh, A an advance, S a step, ^ the beginning. *Alone* is the same pass
again and again, over one prompt. Writes RUNTIME-within.csv, milliseconds: medians over rounds, means over
passes of a kind.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hwsearch.bundle.exporter import exporter_of
from hwsearch.compression import compress
from hwsearch.decoding import sampler
from hwsearch.decoding.answer import end_token_ids
from hwsearch.decoding.passes import PassCall, PassKind
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.latency.devices.environment import this_machine
from hwsearch.latency.timing.pinning import pinned
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import OnnxBackend
from hwsearch.runtime.engine import Runtime
from hwsearch.runtime.providers import CPU, Provider, provider_of
from hwsearch.sinks import SinkProfile
from hwsearch.tasks.gsm_mini.generator import problems

HERE = Path(__file__).parent
FORMATS = ("fp32", "w8a8")
THRESHOLD: dict[str, Any] = {"commit": {"policy": "threshold"}, "stop_at_end": True}
DECODINGS: dict[str, dict[str, Any]] = {
    "schedule": {},
    "threshold": THRESHOLD,
    "advance": THRESHOLD | {"window": {"advance": True}},
}
#: Passes alone: so many are run, and the first tenth does not count.
ALONE = 60
#: How kinds of passes are called.
LETTERS = {PassKind.REFRESH: "R", PassKind.ADVANCE: "A", PassKind.STEP: "S"}


class Noting:
    """A backend that notes how long each of its passes took."""

    def __init__(self, backend: OnnxBackend) -> None:
        self._backend = backend
        self.forecast = None
        self.passes: list[tuple[str, float]] = []

    def begin(self, **sampling: Any) -> None:
        self._backend.begin(**sampling)

    def refresh(self, *arguments: Any) -> Any:
        return self._noted("R", self._backend.refresh, *arguments)

    def step(self, *arguments: Any) -> Any:
        stores = len(arguments) > 3 and arguments[3].store
        return self._noted("A" if stores else "S", self._backend.step, *arguments)

    def _noted(self, kind: str, run: Any, *arguments: Any) -> Any:
        began = time.perf_counter()
        found = run(*arguments)
        self.passes.append((kind, 1e3 * (time.perf_counter() - began)))
        return found


def exported(denoiser: Denoiser, folder: Path, provider: Provider) -> Iterator[tuple[str, Runtime]]:
    """The bundles by name; those that are there are taken as they are."""
    sinks = SinkProfile.keeping_all(denoiser.num_layers)
    for fmt, (name, changes) in product(FORMATS, DECODINGS.items()):
        plan = CompressionPlan.uniform(denoiser.num_layers, fmt, fmt, head=fmt)
        if changes:
            plan = plan.model_copy(update={"decoding": denoiser.decoding.changed(changes)})
        path = folder / f"{fmt}-{name}"
        if not path.exists():
            kept = sinks.kept_shares(plan)
            exporter_of(denoiser).export(compress(denoiser, plan), kept, path, provider=provider)
        yield f"{fmt}, {name}", Runtime(path, threads=1)


def in_place(runtime: Runtime, asked: list[str], rounds: int) -> dict[str, tuple[float, float]]:
    """Milliseconds and number of each kind of pass, of what is between them, and of a generation."""
    manifest, ends = runtime.bundle.manifest, end_token_ids(runtime.bundle.manifest)
    samples: defaultdict[tuple[str, int, int], list[float]] = defaultdict(list)
    for turn in range(rounds + 1):
        for place, question in enumerate(asked):
            backend = Noting(runtime.backend.sharing())
            prompt = np.array([runtime.prompt(question)])
            began = time.perf_counter()
            sampler.generation(
                backend, prompt, manifest.decoding, manifest.mask_token_id, end_tokens=ends
            )
            ms = 1e3 * (time.perf_counter() - began)
            if turn == 0:
                continue  # it warms
            samples["generation", place, 0].append(ms)
            samples["between passes", place, 0].append(ms - sum(ms for _, ms in backend.passes))
            before = "^"
            for index, (kind, taken) in enumerate(backend.passes):
                samples[f"{before}>{kind}", place, index].append(taken)
                before = kind
    grouped: defaultdict[str, list[float]] = defaultdict(list)
    for (name, _, _), taken in samples.items():
        grouped[name].append(float(np.median(taken)))
    return {name: (float(np.mean(ms)), len(ms) / len(asked)) for name, ms in grouped.items()}


def alone(runtime: Runtime, question: str) -> dict[str, tuple[float, float]]:
    """Milliseconds of each kind of pass that is run again and again."""
    manifest, backend = runtime.bundle.manifest, runtime.backend.sharing()
    decoding, prompt = manifest.decoding, runtime.prompt(question)
    tokens = np.array([prompt + [manifest.mask_token_id] * decoding.gen_length], dtype=np.int64)
    backend.begin()
    found = {}
    for kind in PassKind:
        if kind is PassKind.ADVANCE and not decoding.window.advance:
            continue
        start = len(prompt) + (decoding.block_length if kind is PassKind.ADVANCE else 0)
        call = PassCall.of(decoding, kind, start, tokens.shape[1])
        run = backend.refresh if call.is_refresh else backend.step
        taken = []
        for _ in range(ALONE):
            began = time.perf_counter()
            run(*call.arguments(tokens))
            taken.append(1e3 * (time.perf_counter() - began))
        found[f"{LETTERS[kind]} alone"] = (float(np.median(taken[ALONE // 10 :])), 1.0)
    return found


def main() -> None:
    """Export, time, and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runtime", default=CPU.name)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bundles", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=HERE)
    options = parser.parse_args()
    print(this_machine(), options.runtime)
    asked = [p.question for p in islice(problems("validation"), 48)]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary, pinned(1):
        folder = options.bundles or Path(temporary)
        for name, runtime in exported(
            load_denoiser("gsm-mini"), folder, provider_of(options.runtime)
        ):
            found = in_place(runtime, asked, options.rounds) | alone(runtime, asked[0])
            rows += [
                {"bundle": name, "what": what, "ms": ms, "a_generation": count}
                for what, (ms, count) in found.items()
            ]
    table = pd.DataFrame(rows)
    print(table.pivot(index="what", columns="bundle", values="ms").round(3).to_string())
    table.to_csv(options.out / f"{options.runtime}-within.csv", index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
