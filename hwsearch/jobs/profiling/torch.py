"""Time a GPU with torch's kernels, and hold the sums against whole models of random weights."""

from __future__ import annotations

import platform
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch

from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.loading.config import read_config
from hwsearch.errors import InputError
from hwsearch.jobs.predicted_model import PROMPT_LENGTH, config_name
from hwsearch.jobs.profiling.effort import Effort
from hwsearch.jobs.progress import Tracked, silent, untracked
from hwsearch.latency.devices.device import Device, DeviceInfo, Provenance, load_device
from hwsearch.latency.devices.environment import environment, processor
from hwsearch.latency.devices.folder import check_name, write_device
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.devices.table_csv import EXTRA_FORMATS
from hwsearch.latency.operators import OpKey, Workload, refresh_operators, step_operators
from hwsearch.latency.prediction.calibration import calibration_plans
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.latency.prediction.whole_models import (
    WHOLE_FILE,
    Whole,
    calibrate_wholes,
    whole_frame,
)
from hwsearch.latency.timing.operator_times import SHARES, Kept, operators_of
from hwsearch.latency.timing.torch.clock import clock_of, sample
from hwsearch.latency.timing.torch.estimate import pace_of, spoken
from hwsearch.latency.timing.torch.kernels import FORMATS, linear_kernel
from hwsearch.latency.timing.torch.operator_probes import build_run
from hwsearch.plan import CompressionPlan, WeightFormat

#: Mixed plans that the line is not fitted on, run whole to say how far it is off.
HELD_OUT = 6


@dataclass(frozen=True)
class TorchJob:
    """A GPU profile before it is run.

    Attributes:
        model: whose sizes.
        device: where it runs.
        geometry: the sizes.
        workload: what is generated.
        effort: rounds and sessions.
        keys: operators to time.
        plans: plans to run whole.
        refused: formats that do not run here, and why.
        estimate_s: about how long it will take.
    """

    model: str
    device: torch.device
    geometry: Geometry
    workload: Workload
    effort: Effort
    keys: tuple[OpKey, ...]
    plans: tuple[CompressionPlan, ...]
    refused: dict[str, str]
    estimate_s: float

    def lines(self) -> list[str]:
        """What will be done, as text."""
        return [
            *(
                f"{fmt} is left out, it does not run here: {why}"
                for fmt, why in self.refused.items()
            ),
            f"{len(self.keys)} operators in {self.effort.sessions} sessions, then {len(self.plans)} "
            f"plans of {self.model} run whole: about {spoken(self.estimate_s)}",
        ]


def torch_job(
    model: str,
    runtime: str = "torch-cuda",
    prompt_length: int | None = None,
    effort: Effort | None = None,
    kept: Kept | None = None,
) -> TorchJob:
    """What profiling a model's shapes with torch takes. Arguments and errors as `profile_torch`."""
    device, effort, config = torch_device(runtime), effort or Effort(), read_config(model)
    workload = Workload(prompt_length or PROMPT_LENGTH, config.decoding)
    formats, refused = usable_formats(config.geometry, workload, device)
    keys = torch_operators(config.geometry, workload, formats, kept)
    of_plans = [WeightFormat(fmt) for fmt in formats if fmt not in EXTRA_FORMATS]
    plans = calibration_plans(
        config.geometry.num_layers, of_plans, (1.0,), effort.mixed_plans + HELD_OUT
    )
    return TorchJob(
        config_name(model), device, config.geometry, workload, effort, tuple(keys), tuple(plans),
        refused, estimate_s(config.geometry, workload, keys, len(plans), device, effort),
    )  # fmt: skip


def estimate_s(
    geometry: Geometry,
    workload: Workload,
    keys: Sequence[OpKey],
    plans: int,
    device: torch.device,
    effort: Effort,
) -> float:
    """About how many seconds timing operators and running plans whole will take."""
    pace = pace_of(device)
    widest = CompressionPlan.uniform(geometry.num_layers, "fp16", "fp16", head="fp16")
    shares = (1.0,) * geometry.num_layers
    passes = [
        list(operators(geometry, widest, shares, workload).elements())
        for operators in (refresh_operators, step_operators)
    ]
    weights = sum(key.in_features * key.out_features for key in passes[0] if key.kind == "linear")
    probes = sum(pace.probe_s(key, device, effort.rounds) for key in keys)
    return effort.sessions * probes + plans * pace.whole_s(weights, passes, effort.rounds)


def profile_torch(
    name: str,
    out: Path,
    model: str,
    runtime: str = "torch-cuda",
    prompt_length: int | None = None,
    effort: Effort | None = None,
    overwrite: bool = False,
    tracked: Tracked = untracked,
    say: Callable[[str], None] = silent,
    kept: Kept | None = None,
) -> Device:
    """Time a model's shapes with torch, and write the device's folder with its whole-model check.

    Args:
        name: the device's name.
        out: folder of devices.
        model: a model or its ``config.json``; no weights are read.
        runtime: ``torch-cuda`` or ``torch-cpu``.
        prompt_length: tokens of the prompt.
        effort: rounds and sessions; threads are left to torch.
        overwrite: replace a device of the same name.
        tracked: shows progress.
        say: told beforehand what will be done, what is left out, and about how long it takes.
        kept: shares of heads and channels that pruned layers keep.

    Raises:
        InputError: there is no such GPU, none of its formats runs, or the device exists and
            `overwrite` is false.
    """
    check_name(name)
    if (out / name).exists() and not overwrite:
        raise InputError(f"{out / name} exists already; give another --device, or --overwrite")
    job = torch_job(model, runtime, prompt_length, effort, kept)
    for line in job.lines():
        say(line)
    table = time_operators(job.keys, job.device, job.effort, tracked)
    info = _info(name, runtime, job.device, job.refused)
    predictor = Predictor(Device(info, table, out / name), job.geometry, job.workload)
    show = tracked("running plans whole")
    wholes = [
        run_whole(job.plans[i], predictor, job.device, i, job.effort)
        for i in show(range(len(job.plans)))
    ]
    calibration = calibrate_wholes(job.model, wholes[:-HELD_OUT])
    info = info.model_copy(update={"calibrations": (calibration,)})
    check = whole_frame(wholes, calibration, HELD_OUT)
    return load_device(write_device(info, table, out, {WHOLE_FILE: check}))


def torch_device(runtime: str) -> torch.device:
    """The device of a runtime. Raises `InputError` where there is none."""
    if runtime == "torch-cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InputError(
            "--runtime torch-cuda needs an NVIDIA GPU and a torch built for it; torch "
            f"{torch.__version__} sees none. To time a processor: --runtime onnxruntime-cpu"
        )
    return torch.device("cuda")


def usable_formats(
    geometry: Geometry, workload: Workload, device: torch.device
) -> tuple[list[str], dict[str, str]]:
    """Formats whose kernels run here at the model's sizes, and why the others do not.

    Raises:
        InputError: not even bfloat16 runs.
    """
    usable, refused = [], {}
    for fmt in FORMATS:
        if fmt == "fp32":
            continue  # everything around the products is in bfloat16
        try:
            _try_format(fmt, geometry, workload, device)
            usable.append(fmt)
        except (RuntimeError, NotImplementedError) as error:
            refused[fmt] = str(error).strip().splitlines()[0]
    if "fp16" not in usable:
        raise InputError(f"bfloat16 products do not run on {device}: {refused['fp16']}")
    return usable, refused


def _try_format(fmt: str, geometry: Geometry, workload: Workload, device: torch.device) -> None:
    """Run a format's kernels once at every size. Raises `RuntimeError` where one does not run."""
    with torch.inference_mode():
        for inner, outer in _sizes(geometry):
            kernel = linear_kernel(fmt, inner, outer, device)
            for rows in (workload.decoding.block_length, workload.length):
                kernel(torch.ones(rows, inner, dtype=torch.bfloat16, device=device))
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # else a kernel's failure shows up in the next format


def _sizes(g: Geometry) -> list[tuple[int, int]]:
    return [
        (g.hidden_size, g.query_size + 2 * g.kv_size),
        (g.query_size, g.hidden_size),
        (g.hidden_size, 2 * g.intermediate_size),
        (g.intermediate_size, g.hidden_size),
        (g.hidden_size, g.vocab_size),
    ]


def torch_operators(
    geometry: Geometry, workload: Workload, formats: Sequence[str], kept: Kept | None = None
) -> list[OpKey]:
    """Operators of the model in the formats of plans, and its products in the others."""
    of_plans = [WeightFormat(fmt) for fmt in formats if fmt not in EXTRA_FORMATS]
    keys = operators_of(geometry, workload, of_plans, kept)
    products = {replace(key, format="") for key in keys if key.kind == "linear"}
    extra = [fmt for fmt in formats if fmt in EXTRA_FORMATS]
    return sorted([*keys, *(replace(key, format=fmt) for key in products for fmt in extra)])


def time_operators(
    keys: Sequence[OpKey], device: torch.device, effort: Effort, tracked: Tracked = untracked
) -> LatencyTable:
    """Time operators in several sessions, each with buffers of its own."""
    samples: dict[OpKey, list[tuple[float, ...]]] = {key: [] for key in keys}
    clock, dtype = clock_of(device), torch.bfloat16
    by_format = {
        fmt: [key for key in keys if key.format == fmt] for fmt in {k.format for k in keys}
    }
    show = tracked(f"timing {len(keys)} operators")
    for session in show(range(effort.sessions)):
        # one format's buffers at a time: all of them together would not fit
        for same in by_format.values():
            runs = {key: build_run(key, device, dtype) for key in same}
            for key, timed in sample(runs, effort.rounds, clock, seed=session).items():
                samples[key].append(tuple(timed))
    return LatencyTable({key: tuple(parts) for key, parts in samples.items()})


def run_whole(
    plan: CompressionPlan,
    predictor: Predictor,
    device: torch.device,
    seed: int,
    effort: Effort,
) -> Whole:
    """Build a model of random weights in the plan's formats, with drawn kept shares, and time it."""
    from hwsearch.latency.timing.torch.model import RandomModel

    rng = random.Random(seed)
    shares = [rng.choice(SHARES) for _ in plan.layers]
    model = RandomModel(predictor.geometry, plan, shares, predictor.workload, device)
    runs = {"refresh": model.refresh, "step": model.step}
    timed = sample(runs, effort.rounds, clock_of(device))
    medians = [float(pd.Series(timed[name]).median()) / 1e3 for name in ("refresh", "step")]
    return Whole(predictor.sums_ms(plan, shares), (medians[0], medians[1]))


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
