"""Time this machine: operators into a table, then whole models to calibrate their sums."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hwsearch.compression import WeightBank, compress
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import InputError
from hwsearch.export import Exporter
from hwsearch.jobs.progress import Tracked, untracked
from hwsearch.latency.calibrate import calibration_plans, fit_lines
from hwsearch.latency.device import (
    Calibration,
    Device,
    DeviceInfo,
    Provenance,
    load_device,
    write_info,
)
from hwsearch.latency.environment import environment, processor
from hwsearch.latency.measure import measure
from hwsearch.latency.operators import Workload
from hwsearch.latency.predict import Predictor
from hwsearch.latency.profile import operators_of, profile
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import Bundle, OnnxBackend
from hwsearch.runtime.bundle import read_bundle
from hwsearch.search.preparation import calibration_questions, default_workload
from hwsearch.search.space import THRESHOLDS
from hwsearch.sinks import SinkProfile, calibrate_sinks

RUNTIME = "onnxruntime-cpu"


def profile_machine(
    denoiser: Denoiser,
    name: str,
    out: Path,
    *,
    workload: Workload | None = None,
    threads: int = 1,
    rounds: int = 10,
    sessions: int = 3,
    mixed_plans: int = 8,
    overwrite: bool = False,
    tracked: Tracked = untracked,
) -> Device:
    """Time a model's operators on this machine and write the device's folder.

    Args:
        denoiser: whose shapes are timed, and whose plans calibrate the sums.
        name: the device's name.
        out: folder of devices; the device becomes a folder in it, whole or not at all.
        workload: what is generated; None takes gsm-mini's median prompt.
        threads: threads of the runtime.
        rounds: samples of each operator in a session.
        sessions: sessions.
        mixed_plans: random plans to run whole, beside one for each format.
        overwrite: replace a device of the same name.
        tracked: shows progress.

    Raises:
        InputError: the device exists and `overwrite` is false.
    """
    folder = out / name
    if folder.exists() and not overwrite:
        raise InputError(f"{folder} exists already; give another --device, or --overwrite")
    questions = calibration_questions(16)
    workload = workload or default_workload(denoiser)
    keys = operators_of(denoiser.geometry, workload)
    table = profile(
        keys,
        threads=threads,
        rounds=rounds,
        sessions=sessions,
        progress=tracked(f"timing {len(keys)} operators"),
    )
    info = DeviceInfo(
        name=name,
        provenance=Provenance.MEASURED,
        description=processor(),
        runtime=RUNTIME,
        threads=threads,
        environment=environment(),
    )
    plans = calibration_plans(
        denoiser.geometry.num_layers, table.formats(), THRESHOLDS, mixed=mixed_plans
    )
    calibration = calibrate(
        Device(info, table, folder),
        denoiser,
        workload,
        calibrate_sinks(denoiser, questions),
        plans,
        tracked=tracked,
    )
    info = info.model_copy(update={"calibrations": (calibration,)})
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{name}.") as temporary:
        fresh = Path(temporary) / name
        fresh.mkdir()
        table.write(fresh / f"{RUNTIME}.csv")
        write_info(info, fresh / "device.toml")
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
    return load_device(folder)


def calibrate(
    device: Device,
    denoiser: Denoiser,
    workload: Workload,
    sinks: SinkProfile,
    plans: Sequence[CompressionPlan],
    *,
    rounds: int = 15,
    tracked: Tracked = untracked,
) -> Calibration:
    """Export some plans, run them whole, and fit how operator sums become pass times."""
    predictor = Predictor(device, denoiser.geometry, workload)
    shares = [sinks.kept_shares(plan) for plan in plans]
    sums = [predictor.sums_ms(plan, kept) for plan, kept in zip(plans, shares, strict=True)]
    with tempfile.TemporaryDirectory() as temporary:
        bundles = export_plans(denoiser, plans, sinks, Path(temporary), tracked)
        measured = measure(
            {name: OnnxBackend(bundle, device.info.threads) for name, bundle in bundles.items()},
            workload,
            denoiser.mask_token_id,
            rounds=rounds,
            threads=device.info.threads,
            vocab_size=denoiser.geometry.vocab_size,
            progress=tracked("running them whole"),
        )
    return fit_lines(denoiser.name, workload, sums, [timing.p50 for timing in measured.timings.values()])


def export_plans(
    denoiser: Denoiser,
    plans: Sequence[CompressionPlan],
    sinks: SinkProfile,
    folder: Path,
    tracked: Tracked = untracked,
) -> dict[str, Bundle]:
    """Bundles of plans, called by their place in `plans`; one that is in `folder` is kept."""
    exporter, bank = Exporter(denoiser), WeightBank(denoiser)
    bundles = {}
    for index in tracked("exporting plans")(range(len(plans))):
        path = folder / f"plan{index}"
        if not path.exists():
            compressed = compress(denoiser, plans[index], bank)
            exporter.export(compressed, sinks.kept_shares(plans[index]), path)
        bundles[str(index)] = read_bundle(path)
    return bundles
