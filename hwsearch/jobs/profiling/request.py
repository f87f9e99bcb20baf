"""What `hwsearch profile` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hwsearch.denoisers.loading.options import ModelOptions
from hwsearch.jobs.profiling.effort import Effort
from hwsearch.latency.timing.operator_times import Kept
from hwsearch.latency.timing.runtimes import ONNXRUNTIME_CPU, TimedRuntime
from hwsearch.plan import WeightFormat
from hwsearch.tasks.choice import TaskChoice


@dataclass(frozen=True)
class ProfileRequest:
    """A device that is to be timed.

    Attributes:
        name: the device's name; its folder is called so.
        out: folder of devices.
        model: whose sizes are timed: a model, or a ``config.json`` for its sizes alone.
        grid: sizes to time instead; see `hwsearch.latency.timing.shape_grid.ShapeGrid`.
        prompt_length: tokens of the prompt; None takes the task's median, or 128 for a config.
        runtime: what runs the operators.
        formats: weight formats that are timed; None takes the usual ones, and of a torch runtime all that
            run here.
        kept: shares of heads and channels that pruned layers keep, to be timed too.
        effort: threads, rounds and sessions.
        overwrite: time everything anew.
        task: what is asked.
        options: how the model is loaded.
    """

    name: str
    out: Path
    model: str = "gsm-mini"
    grid: str | None = None
    prompt_length: int | None = None
    runtime: TimedRuntime = ONNXRUNTIME_CPU
    formats: tuple[WeightFormat, ...] | None = None
    kept: Kept = field(default_factory=Kept)
    effort: Effort = field(default_factory=Effort)
    overwrite: bool = False
    task: TaskChoice = field(default_factory=TaskChoice)
    options: ModelOptions = field(default_factory=ModelOptions)
