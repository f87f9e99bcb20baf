"""Results that a kit brought back: checked from top to bottom, then a device."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwsearch.errors import TableError
from hwsearch.latency.devices.device import Device, DeviceInfo, Provenance, load_device
from hwsearch.latency.devices.folder import check_device_name, check_new, write_device
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.devices.table_csv import samples_of
from hwsearch.latency.kit.models import PASSES, KitModels
from hwsearch.latency.kit.results import COUNTS, read_results
from hwsearch.latency.operators import OpKey
from hwsearch.latency.prediction.calibration import at_one_pace
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.latency.prediction.whole_models import (
    WHOLE_FILE,
    Whole,
    calibrate_wholes,
    whole_frame,
)

UNCALIBRATED = "timed by a kit that ran no model whole, so its sums are uncalibrated"
PASSES_ALONE = (
    "timed by a kit: passes are graphs alone, without what chooses cached positions between them"
)


def import_results(
    path: Path, name: str, out: Path, *, description: str | None = None, overwrite: bool = False
) -> Device:
    """A device from what a kit's script wrote; the folder is written whole or not at all.

    Where the kit ran models whole, their lines are fitted and their runs kept beside the table.

    Args:
        path: the results.
        name: the device's name.
        out: folder of devices.
        description: the hardware in words; None takes the processor's name.
        overwrite: replace a device of the same name.

    Raises:
        TableError: the results are not whole, not in order, impossible, changed, or do not say what
            machine they are of; the message names the row.
        InputError: the device exists and `overwrite` is false.
    """
    check_device_name(name)
    check_new(out / name, overwrite)
    results = read_results(path)
    is_pass = results.frame["kind"].isin(PASSES)
    table = LatencyTable(samples_of(results.frame[~is_pass]), str(path))
    head = results.head
    info = DeviceInfo(
        name=name,
        provenance=Provenance.MEASURED,
        description=description or head["processor"],
        runtime=results.kind.provider.name,
        threads=int(head["threads"]),
        environment={key: value for key, value in head.items() if key not in COUNTS},
        caveats=(UNCALIBRATED,),
    )
    if results.models is None:
        return load_device(write_device(info, table, out))
    passes = LatencyTable(samples_of(results.frame[is_pass]), str(path))
    wholes = whole_runs(results.models, table, passes, Device(info, table, out / name))
    try:
        fitted = calibrate_wholes(results.models.model, wholes)
    except ValueError as error:
        raise TableError(f"{path}: whole models cannot be calibrated: {error}") from error
    info = info.model_copy(update={"calibrations": (fitted,), "caveats": caveats(results.models)})
    beside = {WHOLE_FILE: whole_frame(wholes, fitted)}
    return load_device(write_device(info, table, out, beside))


def whole_runs(
    models: KitModels, table: LatencyTable, passes: LatencyTable, device: Device
) -> list[Whole]:
    """Sums of every plan that the kit ran whole, and medians over sessions at one pace.

    Raises:
        TableError: a pass, or an operator of one, was not timed.
    """
    predictor = Predictor(device, models.geometry, models.workload)
    sums = [predictor.sums_ms(entry.kept) for entry in models.plans]
    # plans × kinds of pass × sessions
    times = np.array(
        [
            [_session_medians_ms(passes, models.key(index, part)) for part in (0, 1)]
            for index in range(len(models.plans))
        ]
    )
    medians = np.median(at_one_pace(np.moveaxis(times, -1, 0)), axis=0)
    pairs = zip(sums, medians.tolist(), strict=True)
    return [Whole(pair, (refresh, step)) for pair, (refresh, step) in pairs]


def _session_medians_ms(passes: LatencyTable, key: OpKey) -> list[float]:
    if key not in passes.samples:
        raise TableError(
            f"{passes.source}: the {key.kind} of plan {key.in_features} was not timed although the "
            "head says that it was run whole; run the kit again"
        )
    return [float(np.median(session)) / 1e3 for session in passes.samples[key]]


def caveats(models: KitModels) -> tuple[str, ...]:
    """What to know of a calibration by a kit."""
    layers = models.geometry.num_layers
    if layers == models.model_layers:
        return (PASSES_ALONE,)
    return (
        PASSES_ALONE,
        f"calibrated on {layers} of the {models.model_layers} layers of {models.model}, which are "
        "what a small board can hold: the whole model lies beyond what was measured",
    )
