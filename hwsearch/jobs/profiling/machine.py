"""Time this machine for a model, for sizes or for a grid, by whichever runtime is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hwsearch.errors import InputError
from hwsearch.formats.catalog import USUAL_FORMATS
from hwsearch.jobs.predicted_model import subject_of
from hwsearch.jobs.profiling.onnxruntime import MachineProfiler
from hwsearch.jobs.profiling.request import ProfileRequest
from hwsearch.latency.devices.device import Device
from hwsearch.latency.kit.models import KitModels, kit_models
from hwsearch.latency.operators import OpKey
from hwsearch.latency.timing.operator_times import Kept, operators_of
from hwsearch.latency.timing.runtimes import ONNXRUNTIME_CPU, Engine
from hwsearch.latency.timing.shape_grid import ShapeGrid
from hwsearch.plan import WeightFormat
from hwsearch.progress import silent
from hwsearch.runtime.providers import Provider, provider_of
from hwsearch.study.preparation import default_workload


def profile_here(request: ProfileRequest, *, say: Callable[[str], None] = silent) -> Device:
    """Time this machine for a model, for the sizes in a ``config.json``, or for a grid.

    Only a model with weights is also run whole, to calibrate; the torch runtimes run one of random
    weights instead, and say beforehand how long they will take.

    Args:
        request: what to time.
        say: told what a torch runtime will do.

    Raises:
        InputError: the device was timed on another machine or with other settings, or the runtime does
            not time grids, or does not run here.
    """
    if request.runtime.engine is Engine.TORCH:
        from hwsearch.jobs.profiling.torch import profile_torch  # loads torch

        if request.grid is not None:
            raise InputError(
                f"--grid is timed by {ONNXRUNTIME_CPU.name}; give --shapes-of with "
                f"{request.runtime.name}"
            )
        return profile_torch(request, say=say)
    return _profile_onnxruntime(request)


def _profile_onnxruntime(request: ProfileRequest) -> Device:
    formats, provider = request.formats or USUAL_FORMATS, provider_of(request.runtime.name)
    provider.check()  # before a model is read
    profiler = MachineProfiler(
        request.name,
        request.out,
        request.effort,
        request.overwrite,
        task=request.task,
        formats=formats,
        provider=provider,
    )
    model, prompt_length = request.model, request.prompt_length
    if request.grid is not None or Path(model).suffix == ".json":
        keys = wanted_operators(model, request.grid, prompt_length, request.kept, formats=formats)
        return profiler.time_operators(keys)
    request.task.check()  # before a model is read
    denoiser = request.options.load(model)
    workload = default_workload(denoiser, request.task)
    if prompt_length is not None:
        workload = replace(workload, prompt_length=prompt_length)
    return profiler.time_model(denoiser, workload, request.kept)


def wanted_operators(
    model: str,
    grid: str | None,
    prompt_length: int | None,
    kept: Kept | None = None,
    formats: tuple[WeightFormat, ...] = USUAL_FORMATS,
) -> list[OpKey]:
    """Operators of a grid, or else of a model. Raises `InputError` for a grid that is none."""
    if grid is not None:
        return ShapeGrid.parse(grid).operators(formats)
    subject = subject_of(model, prompt_length)
    return operators_of(subject.geometry, subject.workload(), formats, kept)


def kit_formats(
    provider: Provider, asked: tuple[WeightFormat, ...] | None
) -> tuple[WeightFormat, ...]:
    """Formats that a kit times: those asked for, or the usual ones that the provider loads.

    Raises:
        InputError: one that is asked for is none that it loads.
    """
    if asked is None:
        return tuple(fmt for fmt in USUAL_FORMATS if fmt in provider.formats)
    missing = [fmt.value for fmt in asked if fmt not in provider.formats]
    if missing:
        raise InputError(
            f"{provider.name} does not load {', '.join(missing)}; it has {', '.join(provider.formats)}"
        )
    return asked


def wanted_models(
    model: str,
    grid: str | None,
    prompt_length: int | None,
    formats: tuple[WeightFormat, ...] = USUAL_FORMATS,
) -> KitModels | None:
    """The whole models that a kit can run: none for a grid, nor of a model too large for a board."""
    if grid is not None:
        return None
    subject = subject_of(model, prompt_length)
    return kit_models(subject.name, subject.geometry, subject.workload(), formats)
