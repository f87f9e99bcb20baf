"""From a study's plan to a measured, scored bundle; and from a bundle back to whether it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hwsearch.jobs.bundle_checks import (
    Check,
    generation_check,
    plain_checks,
    prediction_checks,
    prompt_check,
)
from hwsearch.jobs.evaluation import evaluate_bundle
from hwsearch.jobs.progress import Tracked, untracked
from hwsearch.latency.operators import Workload
from hwsearch.latency.timing.bundles import Measurement, time_backends
from hwsearch.runtime import Bundle, OnnxBackend, Runtime
from hwsearch.runtime.probe import ProbeBackend
from hwsearch.runtime.reference import read_references

#: Measured latency may differ this much from the predicted one, either way.
LATENCY_TOLERANCE = 0.25


def measure_bundles(
    bundles: Mapping[str, Bundle],
    prompt_length: int,
    threads: int,
    *,
    rounds: int = 31,
    tracked: Tracked = untracked,
) -> Measurement:
    """Time bundles side by side on one workload."""
    manifest = next(iter(bundles.values())).manifest
    return time_backends(
        {name: OnnxBackend(bundle, threads) for name, bundle in bundles.items()},
        Workload(prompt_length, manifest.decoding),
        manifest.mask_token_id,
        rounds=rounds,
        threads=threads,
        progress=tracked("measuring bundles side by side"),
    )


def verify(path: Path | str, *, limit: int = 200, threads: int = 1) -> list[Check]:
    """Reload a bundle in onnxruntime and hold it against what it says of itself.

    The bundle is right if every check that decides has passed.

    Raises:
        VerificationError: a file is missing or was changed, or a graph does not load.
        InputError: there is no bundle.
    """
    runtime = Runtime(path, threads=threads)
    references = read_references(runtime.bundle)
    backend = ProbeBackend(runtime.bundle, threads, logits=references is not None)
    checks = [Check("files", True, "unchanged", "every checksum matches bundle.json")]
    if references is not None:
        checks.append(prompt_check(runtime, references))
    checks += prediction_checks(runtime, references, backend)
    checks += plain_checks(runtime, backend)
    checks.append(generation_check(runtime))
    figures = runtime.bundle.manifest.figures
    if figures.accuracy_interval is not None and limit:
        checks.append(_accuracy(runtime, figures.accuracy_interval, limit))
    if figures.predicted_ms is not None and figures.reference_ms is not None:
        checks.append(_latency(runtime.bundle, figures.predicted_ms, figures.reference_ms, threads))
    return checks


def _accuracy(runtime: Runtime, interval: Sequence[float], limit: int) -> Check:
    found = evaluate_bundle(runtime, limit)
    low, high = found.interval
    return Check(
        "accuracy",
        low <= interval[1] and interval[0] <= high,
        f"{found.accuracy:.1%} of {limit} ({low:.1%} to {high:.1%})",
        f"interval overlaps that of the export, {interval[0]:.1%} to {interval[1]:.1%}",
    )


def _latency(bundle: Bundle, predicted_ms: float, reference_ms: float, threads: int) -> Check:
    """Measured against predicted, both as multiples of the machine's speed at the time."""
    prompt_length = bundle.manifest.figures.prompt_length or 1
    found = measure_bundles({"bundle": bundle}, prompt_length, threads)
    measured_ms = found.generation_ms("bundle")
    speed = found.reference_ms / reference_ms
    expected_ms = predicted_ms * speed
    return Check(
        "latency",
        abs(measured_ms / expected_ms - 1) <= LATENCY_TOLERANCE,
        f"{measured_ms:.2f} ms",
        f"within {LATENCY_TOLERANCE:.0%} of {expected_ms:.2f} ms, predicted {predicted_ms:.2f} ms "
        f"times {speed:.2f} for the machine's speed now",
    )
