"""Plans run whole on onnxruntime: what a device's calibration is fitted on."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hwsearch.bundle import exporter_of
from hwsearch.compression import WeightBank, WeightCalibration, compress
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.latency.operators import Workload
from hwsearch.latency.timing.bundles import time_backends
from hwsearch.latency.timing.forecasts import time_forecasts
from hwsearch.plan import CompressionPlan
from hwsearch.progress import each, shown
from hwsearch.runtime import Bundle, OnnxBackend
from hwsearch.runtime.bundle import read_bundle
from hwsearch.runtime.providers import CPU, Provider
from hwsearch.sinks import SinkProfile

#: Median refresh and step of a plan in one session, and each of its
#: `hwsearch.latency.generations.scheduled_generations`, in milliseconds.
PassTimes = tuple[float, ...]

#: Most samples of each pass and generation in a session.
ROUNDS = 5

#: Of generations with forecasts, whose difference from those without is small: so many times as many.
FORECAST_ROUNDS = 3


def run_plans(
    denoiser: Denoiser,
    plans: Sequence[CompressionPlan],
    sinks: SinkProfile,
    workload: Workload,
    *,
    threads: int,
    rounds: int = ROUNDS,
    sessions: int,
    provider: Provider = CPU,
) -> list[list[PassTimes]]:
    """Export plans and run them whole: their times by session, then by plan.

    A session opens every bundle anew: where its weights come to lie in memory moves a model's times
    by a percent or so, however often they are sampled.
    """
    with tempfile.TemporaryDirectory() as temporary:
        bundles = export_plans(denoiser, plans, sinks, Path(temporary), provider)
        return [
            time_bundles(bundles, denoiser, workload, rounds=rounds, threads=threads)
            for _ in shown("running them whole")(range(sessions))
        ]


def run_forecasts(
    denoiser: Denoiser,
    plan: CompressionPlan,
    sinks: SinkProfile,
    workload: Workload,
    *,
    threads: int,
    rounds: int = ROUNDS,
    sessions: int,
    provider: Provider = CPU,
) -> dict[str, float]:
    """Milliseconds that each method of forecasts costs after a pass of a plan: medians over sessions."""
    with tempfile.TemporaryDirectory() as temporary:
        (bundle,) = export_plans(denoiser, [plan], sinks, Path(temporary), provider).values()
        found = [
            time_forecasts(
                OnnxBackend(bundle, threads),
                workload,
                denoiser.mask_token_id,
                vocab_size=denoiser.geometry.vocab_size,
                width=denoiser.geometry.hidden_size,
                rounds=FORECAST_ROUNDS * rounds,
                threads=threads,
            )
            for _ in range(sessions)
        ]
    return {name: float(np.median([one[name] for one in found])) for name in found[0]}


def time_bundles(
    bundles: Mapping[str, Bundle],
    denoiser: Denoiser,
    workload: Workload,
    *,
    rounds: int = ROUNDS,
    threads: int,
) -> list[PassTimes]:
    """Median refresh, step and generations of bundles opened anew, timed side by side."""
    backends = {name: OnnxBackend(bundle, threads) for name, bundle in bundles.items()}
    measured = time_backends(
        backends,
        workload,
        denoiser.mask_token_id,
        rounds=rounds,
        threads=threads,
        vocab_size=denoiser.tokenizer.get_vocab_size(),
        writers={name: backend.sharing() for name, backend in backends.items()},
    )
    return [timing.p50 for timing in measured.timings.values()]


def export_plans(
    denoiser: Denoiser,
    plans: Sequence[CompressionPlan],
    sinks: SinkProfile,
    folder: Path,
    provider: Provider = CPU,
) -> dict[str, Bundle]:
    """Bundles of plans, called by their place in `plans`; one that is in `folder` is kept."""
    # plans that prune do so by magnitude, which looks at no activations
    exporter, bank = exporter_of(denoiser), WeightBank(denoiser, WeightCalibration(denoiser, ()))
    bundles = {}
    for index, plan in enumerate(each(plans, "exporting plans", len(plans))):
        path = folder / f"plan{index}"
        if not path.exists():
            compressed = compress(denoiser, plan, bank)
            exporter.export(compressed, sinks.kept_shares(plan), path, provider=provider)
        bundles[str(index)] = read_bundle(path)
    return bundles
