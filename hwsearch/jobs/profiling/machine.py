"""Time this machine for a model, for sizes or for a grid, by whichever runtime is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.errors import InputError
from hwsearch.jobs.predicted_model import subject_of
from hwsearch.jobs.profiling.effort import Effort
from hwsearch.jobs.profiling.onnxruntime import RUNTIME, profile_grid, profile_machine
from hwsearch.jobs.progress import Tracked, silent, untracked
from hwsearch.latency.devices.device import (
    Device,
)
from hwsearch.latency.kit.models import KitModels, kit_models
from hwsearch.latency.operators import OpKey, Workload
from hwsearch.latency.timing.operator_times import Kept, operators_of
from hwsearch.latency.timing.shape_grid import ShapeGrid
from hwsearch.study.preparation import default_workload


def profile_here(
    name: str,
    out: Path,
    *,
    model: str = "gsm-mini",
    grid: str | None = None,
    prompt_length: int | None = None,
    runtime: str = RUNTIME,
    kept: Kept | None = None,
    effort: Effort | None = None,
    overwrite: bool = False,
    tracked: Tracked = untracked,
    say: Callable[[str], None] = silent,
) -> Device:
    """Time this machine for a model, for the sizes in a ``config.json``, or for a grid.

    `kept` adds the sizes of pruned layers.

    Only a model with weights is also run whole, to calibrate; the torch runtimes run one of random
    weights instead, and say beforehand how long they will take. Errors are those of
    `profile_machine`.
    """
    if runtime != RUNTIME:
        from hwsearch.jobs.profiling.torch import profile_torch  # loads torch

        if grid is not None:
            raise InputError(f"--grid is timed by {RUNTIME}; give --shapes-of with {runtime}")
        return profile_torch(
            name, out, model, runtime, prompt_length, effort, overwrite, tracked, say, kept
        )
    if grid is not None or Path(model).suffix == ".json":
        keys = wanted_operators(model, grid, prompt_length, kept)
        return profile_grid(keys, name, out, effort=effort, overwrite=overwrite, tracked=tracked)
    denoiser = load_denoiser(model)
    workload = default_workload(denoiser)
    if prompt_length is not None:
        workload = Workload(prompt_length, denoiser.decoding)
    return profile_machine(
        denoiser,
        name,
        out,
        workload=workload,
        kept=kept,
        effort=effort,
        overwrite=overwrite,
        tracked=tracked,
    )


def wanted_operators(
    model: str, grid: str | None, prompt_length: int | None, kept: Kept | None = None
) -> list[OpKey]:
    """Operators of a grid, or else of a model. Raises `InputError` for a grid that is none."""
    if grid is not None:
        return ShapeGrid.parse(grid).operators()
    subject = subject_of(model, prompt_length)
    workload = Workload(subject.prompt_length, subject.decoding)
    return operators_of(subject.geometry, workload, kept=kept)


def wanted_models(model: str, grid: str | None, prompt_length: int | None) -> KitModels | None:
    """The whole models that a kit can run: none for a grid, nor of a model too large for a board."""
    if grid is not None:
        return None
    subject = subject_of(model, prompt_length)
    workload = Workload(subject.prompt_length, subject.decoding)
    return kit_models(subject.name, subject.geometry, workload)
