"""Time this machine: operators into a table, then whole models to calibrate their sums."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hwsearch.compression import WeightBank, compress
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import linear_sizes
from hwsearch.errors import InputError
from hwsearch.export import Exporter
from hwsearch.export.quantise import FORMATS
from hwsearch.jobs.progress import Tracked, untracked
from hwsearch.latency.calibrate import calibration_plans, fit_line
from hwsearch.latency.device import (
    Calibration,
    Device,
    DeviceInfo,
    Provenance,
    load_device,
    write_info,
)
from hwsearch.latency.environment import environment, processor
from hwsearch.latency.full_pass import full_pass_keys, predictor_of
from hwsearch.latency.measure import measure
from hwsearch.latency.operators import OpKey, Workload
from hwsearch.latency.profile import operators_of, profile
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import OnnxBackend
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
    mixed_plans: int = 4,
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
    sinks = SinkProfile.keeping_all(denoiser.num_layers)
    if denoiser.is_cached:
        sinks = calibrate_sinks(denoiser, calibration_questions(16))
    workload = workload or default_workload(denoiser)
    keys = _operators(denoiser, workload)
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
    thresholds = THRESHOLDS if denoiser.is_cached else (1.0,)
    plans = calibration_plans(denoiser.num_layers, table.formats(), thresholds, mixed=mixed_plans)
    calibration = calibrate(
        Device(info, table, folder),
        denoiser,
        workload,
        sinks,
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


def _operators(denoiser: Denoiser, workload: Workload) -> list[OpKey]:
    if denoiser.is_cached:
        return operators_of(denoiser.geometry, workload)
    return full_pass_keys(linear_sizes(denoiser.network), workload, FORMATS)


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
    exporter, bank = Exporter(denoiser), WeightBank(denoiser)
    predictor = predictor_of(device, denoiser, workload)
    shares = [sinks.kept_shares(plan) for plan in plans]
    sums = [predictor.sums_ms(plan, kept) for plan, kept in zip(plans, shares, strict=True)]
    with tempfile.TemporaryDirectory() as temporary:
        backends = {}
        for index in tracked("exporting plans to calibrate with")(range(len(plans))):
            compressed = compress(denoiser, plans[index], bank)
            bundle = exporter.export(compressed, shares[index], Path(temporary) / str(index))
            backends[str(index)] = OnnxBackend(bundle, device.info.threads)
        measured = measure(
            backends,
            workload,
            denoiser.mask_token_id,
            rounds=rounds,
            threads=device.info.threads,
            vocab_size=denoiser.tokenizer.get_vocab_size(),
            progress=tracked("running them whole"),
        )
    p50 = [measured.timings[str(index)].p50 for index in range(len(plans))]
    return Calibration(
        model=denoiser.name,
        refresh=fit_line([s[0] for s in sums], [times[0] for times in p50]),
        step=fit_line([s[1] for s in sums], [times[1] for times in p50]),
    )
