"""Time this machine: operators into a table, then whole models to calibrate their sums."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hwsearch.bundle import exporter_of
from hwsearch.bundle.quantise import FORMATS
from hwsearch.compression import WeightBank, WeightCalibration, compress
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.digest import sizes_digest
from hwsearch.denoisers.network import linear_sizes
from hwsearch.errors import InputError
from hwsearch.jobs.profiling.effort import Effort
from hwsearch.jobs.progress import Tracked, untracked
from hwsearch.latency.devices.device import (
    Calibration,
    Device,
    DeviceInfo,
    Provenance,
    load_device,
)
from hwsearch.latency.devices.environment import environment, processor
from hwsearch.latency.devices.folder import Journal, check_name, check_same, counts, write_device
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.operators import OpKey, Workload
from hwsearch.latency.prediction.calibration import at_one_pace, calibration_plans, fit_lines
from hwsearch.latency.prediction.full_pass import full_pass_keys, predictor_of
from hwsearch.latency.prediction.whole_models import Whole, whole_frame, with_runs
from hwsearch.latency.timing.bundles import measure
from hwsearch.latency.timing.operator_times import Kept, operators_of, profile
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import Bundle, OnnxBackend
from hwsearch.runtime.bundle import read_bundle
from hwsearch.sinks import SinkProfile
from hwsearch.study.choices.search_space import THRESHOLDS
from hwsearch.study.preparation import (
    SINK_QUESTIONS,
    calibration_questions,
    default_workload,
    sink_profile,
)

RUNTIME = "onnxruntime-cpu"


def profile_machine(
    denoiser: Denoiser,
    name: str,
    out: Path,
    *,
    workload: Workload | None = None,
    kept: Kept | None = None,
    effort: Effort | None = None,
    overwrite: bool = False,
    tracked: Tracked = untracked,
) -> Device:
    """Time a model's operators on this machine and write the device's folder.

    A device that is there is added to: only what it lacks is timed, and nothing where it
    lacks nothing. A run that was cut off goes on with the sessions that it has finished.

    Args:
        denoiser: whose shapes are timed, and whose plans calibrate the sums.
        name: the device's name.
        out: folder of devices; the device becomes a folder in it, whole or not at all.
        workload: what is generated; None takes gsm-mini's median prompt.
        kept: shares of heads and channels that pruned layers keep.
        effort: threads, rounds and sessions.
        overwrite: time everything anew.
        tracked: shows progress.

    Raises:
        InputError: the device was timed on another machine or with other settings.
    """
    effort, workload = effort or Effort(), workload or default_workload(denoiser)
    kept = kept or Kept()
    keys = _operators(denoiser, workload, kept)
    before, table = time_operators(name, out, keys, effort, overwrite, tracked)
    info = before or machine_info(name, effort)
    device = Device(info, table, out / name)
    sizes, runs = sizes_digest(denoiser), None
    known = info.calibration(denoiser.name, sizes)
    if known is None or before is None or table.count() != before.samples:
        thresholds = THRESHOLDS if denoiser.is_cached else (1.0,)
        sinks = SinkProfile.keeping_all(denoiser.num_layers)
        if denoiser.is_cached:
            sinks = sink_profile(denoiser, tuple(calibration_questions(SINK_QUESTIONS)))
        plans = calibration_plans(
            denoiser.num_layers,
            table.formats(),
            thresholds,
            mixed=effort.mixed_plans,
            sizes=kept.sizes(denoiser.geometry) if denoiser.is_cached else None,
        )
        fresh, runs = calibrate(
            device, denoiser, workload, sinks, plans, sessions=effort.sessions, tracked=tracked
        )
        others = tuple(c for c in info.calibrations if c.model != denoiser.name)
        fresh = fresh.model_copy(update={"sizes": sizes})
        info = info.model_copy(update={"calibrations": (*others, fresh)})
    return finish(info, before, table, out, runs)


def profile_grid(
    keys: Sequence[OpKey],
    name: str,
    out: Path,
    *,
    effort: Effort | None = None,
    overwrite: bool = False,
    tracked: Tracked = untracked,
) -> Device:
    """Time operators of a grid, or of a model without weights: no whole model, so no calibration.

    Arguments and errors are those of `profile_machine`.
    """
    effort = effort or Effort()
    before, table = time_operators(name, out, keys, effort, overwrite, tracked)
    return finish(before or machine_info(name, effort), before, table, out)


def finish(
    info: DeviceInfo,
    before: DeviceInfo | None,
    table: LatencyTable,
    out: Path,
    runs: pd.DataFrame | None = None,
) -> Device:
    """Write a device unless nothing changed, and forget what was kept of the unfinished one.

    Whole-model runs stand beside the table; a device that is timed anew keeps none of its old ones.
    """
    folder = out / info.name
    if info.model_copy(update=counts(table)) != before:
        write_device(info, table, out, with_runs(folder if before else None, runs))
    Journal(out, info.name, {}).remove()
    return load_device(folder)


def machine_info(name: str, effort: Effort) -> DeviceInfo:
    """This machine, before it was timed."""
    return DeviceInfo(
        name=name,
        provenance=Provenance.MEASURED,
        description=processor(),
        runtime=RUNTIME,
        threads=effort.threads,
        environment=environment(),
    )


def time_operators(
    name: str,
    out: Path,
    keys: Sequence[OpKey],
    effort: Effort,
    overwrite: bool,
    tracked: Tracked,
) -> tuple[DeviceInfo | None, LatencyTable]:
    """Time the operators that a device and its unfinished run lack; the device as it was, and all."""
    check_name(name)
    facts = environment() | {"threads": str(effort.threads)}
    journal = Journal(out, name, facts)
    if overwrite:
        journal.remove()
    before = None
    known = dict(journal.read())
    if (out / name / "device.toml").is_file() and not overwrite:
        device = load_device(out / name)
        before = device.info
        timed = before.environment | {"threads": str(before.threads)}
        fix = "give another --device, or --overwrite"
        check_same(timed, facts, str(out / name), fix)
        known = dict(device.table.samples) | known
    table = profile(
        keys,
        threads=effort.threads,
        rounds=effort.rounds,
        sessions=effort.sessions,
        known=known,
        keep=journal.keep,
        progress=tracked(f"timing {len(keys)} operators"),
    )
    return before, table


def _operators(denoiser: Denoiser, workload: Workload, kept: Kept) -> list[OpKey]:
    if denoiser.is_cached:
        return operators_of(denoiser.geometry, workload, kept=kept)
    if kept != Kept():
        raise InputError(
            f"model {denoiser.name!r} has no heads and channels that hwsearch knows of, so there are "
            "no pruned sizes to time; leave out --kept-heads and --kept-channels"
        )
    return full_pass_keys(linear_sizes(denoiser.network), workload, FORMATS)


def calibrate(
    device: Device,
    denoiser: Denoiser,
    workload: Workload,
    sinks: SinkProfile,
    plans: Sequence[CompressionPlan],
    *,
    rounds: int = 5,
    sessions: int = 3,
    tracked: Tracked = untracked,
) -> tuple[Calibration, pd.DataFrame]:
    """Export some plans, run them whole, and fit how operator sums become pass times.

    Where a session's weights come to lie in memory moves a model's times by a percent or so, however
    often they are sampled; so the medians of several sessions are taken, each at the same pace.

    Returns:
        The lines, and every run that they were fitted on.
    """
    predictor = predictor_of(device, denoiser, workload)
    shares = [sinks.kept_shares(plan) for plan in plans]
    sums = [predictor.sums_ms(plan, kept) for plan, kept in zip(plans, shares, strict=True)]
    show = tracked("running them whole")
    with tempfile.TemporaryDirectory() as temporary:
        bundles = export_plans(denoiser, plans, sinks, Path(temporary), tracked)
        measured = [
            run_whole(bundles, denoiser, workload, device.info.threads, rounds, seed)
            for seed in show(range(sessions))
        ]
    medians = [tuple(row) for row in np.median(at_one_pace(measured), axis=0).tolist()]
    lines = fit_lines(denoiser.name, workload, sums, medians)
    wholes = [Whole(pair, row[:2], row[2]) for pair, row in zip(sums, medians, strict=True)]
    return lines, whole_frame(wholes, lines)


def run_whole(
    bundles: Mapping[str, Bundle],
    denoiser: Denoiser,
    workload: Workload,
    threads: int,
    rounds: int,
    seed: int,
) -> list[tuple[float, float, float]]:
    """Median refresh, step and generation of bundles opened anew, in milliseconds."""
    measured = measure(
        {name: OnnxBackend(bundle, threads) for name, bundle in bundles.items()},
        workload,
        denoiser.mask_token_id,
        rounds=rounds,
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
    tracked: Tracked = untracked,
) -> dict[str, Bundle]:
    """Bundles of plans, called by their place in `plans`; one that is in `folder` is kept."""
    # plans that prune do so by magnitude, which looks at no activations
    exporter, bank = exporter_of(denoiser), WeightBank(denoiser, WeightCalibration(denoiser, ()))
    bundles = {}
    for index in tracked("exporting plans")(range(len(plans))):
        path = folder / f"plan{index}"
        if not path.exists():
            compressed = compress(denoiser, plans[index], bank)
            exporter.export(compressed, sinks.kept_shares(plans[index]), path)
        bundles[str(index)] = read_bundle(path)
    return bundles
