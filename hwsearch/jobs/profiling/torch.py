"""Time a GPU with torch's kernels, and hold the sums against whole models of random weights."""

from __future__ import annotations

import platform
import random
from collections.abc import Callable, Sequence

import pandas as pd
import torch

from hwsearch.decoding.kept import KeptPlan
from hwsearch.jobs.profiling.effort import Effort
from hwsearch.jobs.profiling.request import ProfileRequest
from hwsearch.jobs.profiling.torch_job import HELD_OUT, torch_job
from hwsearch.latency.devices.device import Device, DeviceInfo, Provenance, load_device
from hwsearch.latency.devices.environment import environment, processor
from hwsearch.latency.devices.folder import check_device_name, check_new, write_device
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.operators import OpKey
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.latency.prediction.whole_models import (
    WHOLE_FILE,
    Whole,
    calibrate_wholes,
    whole_frame,
)
from hwsearch.latency.timing.operator_times import SHARES
from hwsearch.latency.timing.torch.clock import clock_of, sample
from hwsearch.latency.timing.torch.model import RandomModel
from hwsearch.latency.timing.torch.operator_probes import build_run
from hwsearch.plan import CompressionPlan
from hwsearch.progress import shown, silent


def profile_torch(request: ProfileRequest, *, say: Callable[[str], None] = silent) -> Device:
    """Time a model's shapes with torch, and write the device's folder with its whole-model check.

    Args:
        request: what to time; of its model no weights are read, and threads are left to torch.
        say: told beforehand what will be done, what is left out, and about how long it takes.

    Raises:
        InputError: there is no such GPU, none of its formats runs, or the device exists and is not to
            be overwritten.
    """
    name, out = request.name, request.out
    check_device_name(name)
    check_new(out / name, request.overwrite)
    job = torch_job(request)
    for line in job.lines():
        say(line)
    table = time_torch_operators(job.keys, job.device, job.effort)
    info = _info(name, request.runtime.name, job.device, job.refused)
    predictor = Predictor(Device(info, table, out / name), job.geometry, job.workload)
    wholes = [
        time_random_model(job.plans[i], predictor, job.device, i, job.effort)
        for i in shown("running plans whole")(range(len(job.plans)))
    ]
    calibration = calibrate_wholes(job.model, wholes[:-HELD_OUT])
    info = info.model_copy(update={"calibrations": (calibration,)})
    check = whole_frame(wholes, calibration, HELD_OUT)
    return load_device(write_device(info, table, out, {WHOLE_FILE: check}))


def time_torch_operators(
    keys: Sequence[OpKey], device: torch.device, effort: Effort
) -> LatencyTable:
    """Time operators in several sessions, each with buffers of its own."""
    samples: dict[OpKey, list[tuple[float, ...]]] = {key: [] for key in keys}
    clock, dtype = clock_of(device), torch.bfloat16
    by_format = {
        fmt: [key for key in keys if key.format == fmt] for fmt in {k.format for k in keys}
    }
    for session in shown(f"timing {len(keys)} operators")(range(effort.sessions)):
        # one format's buffers at a time: all of them together would not fit
        for same in by_format.values():
            runs = {key: build_run(key, device, dtype) for key in same}
            for key, timed in sample(runs, effort.rounds, clock, seed=session).items():
                samples[key].append(tuple(timed))
    return LatencyTable({key: tuple(parts) for key, parts in samples.items()})


def time_random_model(
    plan: CompressionPlan,
    predictor: Predictor,
    device: torch.device,
    seed: int,
    effort: Effort,
) -> Whole:
    """Build a model of random weights in the plan's formats, with drawn kept shares, and time it."""
    rng = random.Random(seed)
    drawn = KeptPlan.drawn(plan, [rng.choice(SHARES) for _ in plan.layers])
    model = RandomModel(predictor.geometry, drawn, predictor.workload, device)
    runs = {"refresh": model.refresh, "step": model.step}
    timed = sample(runs, effort.rounds, clock_of(device))
    medians = [float(pd.Series(timed[name]).median()) / 1e3 for name in ("refresh", "step")]
    return Whole(predictor.sums_ms(drawn), (medians[0], medians[1]))


def _info(name: str, runtime: str, device: torch.device, refused: dict[str, str]) -> DeviceInfo:
    facts = environment() | {"torch": torch.__version__, "system": platform.system()}
    gpu = device.type == "cuda"
    if gpu:
        facts |= {
            "processor": torch.cuda.get_device_name(device),
            "host": processor(),
            "cuda": str(torch.version.cuda),
        }
    kernels = "one kernel after the other, launched from Python: no CUDA graph, nothing fused"
    return DeviceInfo(
        name=name,
        provenance=Provenance.MEASURED,
        description=facts["processor"],
        runtime=runtime,
        threads=1 if gpu else torch.get_num_threads(),
        environment=facts,
        caveats=(kernels, *(f"{fmt} does not run here: {why}" for fmt, why in refused.items())),
    )
