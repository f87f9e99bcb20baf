"""Plans run whole on onnxruntime: what a device's calibration is fitted on."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hwsearch.bundle import exporter_of
from hwsearch.compression import WeightBank, WeightCalibration, compress
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.latency.operators import Workload
from hwsearch.latency.timing.bundles import time_backends
from hwsearch.plan import CompressionPlan
from hwsearch.progress import each, shown
from hwsearch.runtime import Bundle, OnnxBackend
from hwsearch.runtime.bundle import read_bundle
from hwsearch.runtime.providers import CPU, Provider
from hwsearch.sinks import SinkProfile

#: Median refresh, step and generation of a plan in one session, in milliseconds.
PassTimes = tuple[float, float, float]

#: Samples of each pass and generation in a session.
ROUNDS = 5


def run_plans(
    denoiser: Denoiser,
    plans: Sequence[CompressionPlan],
    sinks: SinkProfile,
    workload: Workload,
    *,
    threads: int,
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
            time_bundles(bundles, denoiser, workload, threads=threads, seed=seed)
            for seed in shown("running them whole")(range(sessions))
        ]


def time_bundles(
    bundles: Mapping[str, Bundle],
    denoiser: Denoiser,
    workload: Workload,
    *,
    threads: int,
    seed: int,
) -> list[PassTimes]:
    """Median refresh, step and generation of bundles opened anew, timed side by side."""
    measured = time_backends(
        {name: OnnxBackend(bundle, threads) for name, bundle in bundles.items()},
        workload,
        denoiser.mask_token_id,
        rounds=ROUNDS,
        threads=threads,
        vocab_size=denoiser.tokenizer.get_vocab_size(),
        seed=seed,
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
