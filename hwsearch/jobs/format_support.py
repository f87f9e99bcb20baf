"""Which weight formats a device offers to searches, and why it does without the others."""

from __future__ import annotations

from dataclasses import dataclass

from hwsearch.formats.catalog import FORMATS
from hwsearch.latency.devices.device import Device, Provenance
from hwsearch.latency.operators import OpKey
from hwsearch.latency.timing.runtimes import ONNXRUNTIME_CPU, RUNTIMES, Engine, TimedRuntime
from hwsearch.plan import WeightFormat
from hwsearch.runtime.providers import PROVIDERS, Provider, provider_of

#: Sizes of the one product that is tried: they fill blocks of every size.
ROWS, FEATURES = 8, 256


@dataclass(frozen=True)
class FormatSupport:
    """What becomes of a format on a device.

    Attributes:
        name: of the format.
        offered: whether the device's table has times for it, so that searches can offer it.
        why_not: what it lacks, and what to do about it; empty where it is offered.
    """

    name: WeightFormat
    offered: bool
    why_not: str = ""


def format_support(device: Device) -> list[FormatSupport]:
    """Every format on a device.

    What a table does not know is tried on this machine, by its runtime: a model of one product is
    loaded and run.
    """
    timed = {str(fmt) for fmt in device.costs.formats()}
    runtime = RUNTIMES.get(device.info.runtime)
    return [
        FormatSupport(fmt, fmt in timed, "" if fmt in timed else _why_not(device, runtime, fmt))
        for fmt in FORMATS
    ]


def _why_not(device: Device, runtime: TimedRuntime | None, fmt: WeightFormat) -> str:
    if device.info.provenance is Provenance.MODELLED:
        return "its datasheet has no figure for it"
    if runtime is not None and runtime.name in PROVIDERS and runtime.engine is None:
        return _why_not_in_the_kit(device, provider_of(runtime.name), fmt)
    if runtime is None or runtime.engine is None:
        return f"nobody published times of it with {device.info.runtime}"
    refused = why_it_does_not_run(runtime, fmt)
    if refused:
        return refused
    by = "" if runtime is ONNXRUNTIME_CPU else f" --runtime {runtime.name}"
    command = f"hwsearch profile --device {device.info.name}{by} --formats {fmt.value}"
    return f"{runtime.name} runs it here, but it is not timed: {command}"


def _why_not_in_the_kit(device: Device, provider: Provider, fmt: WeightFormat) -> str:
    """Of a runtime that is timed by a kit, since Python does not run it."""
    if fmt not in provider.formats:
        return f"{provider.name} has no kernel for it"
    command = f"hwsearch profile --kit FOLDER --for {provider.name} --formats {fmt.value}"
    return (
        f"{provider.name} loads it, but it is not timed: {command}, and --import its results as "
        f"{device.info.name}"
    )


def why_it_does_not_run(runtime: TimedRuntime, fmt: WeightFormat) -> str:
    """Why a runtime does not run a product in a format on this machine; empty where it does."""
    if fmt.value not in runtime.formats:
        return f"{runtime.name} has no kernel for it"
    try:
        _run_product(runtime, fmt)
    except Exception as error:  # what onnxruntime raises has no base of its own
        return f"{runtime.name} does not run it here: {str(error).strip().splitlines()[0]}"
    return ""


def _run_product(runtime: TimedRuntime, fmt: WeightFormat) -> None:
    """Load a model of one product, and run it once."""
    if runtime.engine is Engine.ONNXRUNTIME:
        from hwsearch.latency.timing.operator_graphs import build_probe

        key = OpKey("linear", ROWS, FEATURES, FEATURES, format=fmt.value)
        model, feeds = build_probe(key, copies=1)
        session = provider_of(runtime.name).open(model.SerializeToString(), threads=None)
        session.run(None, dict(feeds))
    else:
        import torch

        from hwsearch.jobs.profiling.torch_job import torch_device
        from hwsearch.latency.timing.torch.kernels import input_dtype, linear_kernel

        device = torch_device(runtime)
        with torch.inference_mode():
            rows = torch.ones(ROWS, FEATURES, dtype=input_dtype(fmt.value), device=device)
            linear_kernel(fmt.value, FEATURES, FEATURES, device)(rows)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
