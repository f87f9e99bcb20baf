"""What profiling a model's sizes with torch takes, before it is run: operators, plans, how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from hwsearch.decoding.kept import KeptPlan
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.loading.config import read_config
from hwsearch.errors import InputError
from hwsearch.jobs.predicted_model import PROMPT_LENGTH, config_name
from hwsearch.jobs.profiling.effort import Effort
from hwsearch.jobs.profiling.request import ProfileRequest
from hwsearch.latency.devices.table_csv import EXTRA_FORMATS
from hwsearch.latency.operators import OpKey, Workload, refresh_operators, step_operators
from hwsearch.latency.prediction.calibration import calibration_plans
from hwsearch.latency.timing.operator_times import Kept, operators_of
from hwsearch.latency.timing.runtimes import ONNXRUNTIME_CPU, TORCH_CUDA, TimedRuntime
from hwsearch.latency.timing.torch.estimate import pace_of, spoken
from hwsearch.latency.timing.torch.kernels import linear_kernel
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


def torch_job(request: ProfileRequest) -> TorchJob:
    """What a request takes of a torch runtime.

    Raises:
        InputError: there is no such GPU, or none of its formats runs.
    """
    device, effort = torch_device(request.runtime), request.effort
    config = read_config(request.model)
    workload = Workload(request.prompt_length or PROMPT_LENGTH, config.decoding)
    runtime = request.runtime
    if request.formats is not None:
        asked = ("fp16", *(fmt.value for fmt in request.formats))
        runtime = replace(runtime, formats=tuple(f for f in runtime.formats if f in asked))
    formats, refused = usable_formats(config.geometry, workload, device, runtime)
    keys = torch_operators(config.geometry, workload, formats, request.kept)
    of_plans = [WeightFormat(fmt) for fmt in formats if fmt not in EXTRA_FORMATS]
    plans = calibration_plans(
        config.geometry.num_layers, of_plans, (1.0,), effort.mixed_plans + HELD_OUT
    )
    return TorchJob(
        config_name(request.model), device, config.geometry, workload, effort, tuple(keys),
        tuple(plans), refused,
        estimate_s(config.geometry, workload, keys, len(plans), device, effort),
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
    passes = [
        list(operators(geometry, KeptPlan.keeping_all(widest), workload).elements())
        for operators in (refresh_operators, step_operators)
    ]
    weights = sum(key.in_features * key.out_features for key in passes[0] if key.kind == "linear")
    probes = sum(pace.probe_s(key, device, effort.rounds) for key in keys)
    return effort.sessions * probes + plans * pace.whole_s(weights, passes, effort.rounds)


def torch_device(runtime: TimedRuntime) -> torch.device:
    """The device of a runtime. Raises `InputError` where there is none."""
    if runtime.processor == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"--runtime {runtime.name} needs an NVIDIA GPU and a torch built for it; torch "
            f"{torch.__version__} sees none. To time a processor: --runtime {ONNXRUNTIME_CPU.name}"
        )
    return torch.device(runtime.processor)


def usable_formats(
    geometry: Geometry,
    workload: Workload,
    device: torch.device,
    runtime: TimedRuntime = TORCH_CUDA,
) -> tuple[list[str], dict[str, str]]:
    """Formats whose kernels run here at the model's sizes, and why the others do not.

    Raises:
        InputError: not even bfloat16 runs.
    """
    usable, refused = [], {}
    for fmt in runtime.formats:
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
