"""Time this machine: operators into a table, then whole models to calibrate their sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from hwsearch.decoding.kept import KeptPlan
from hwsearch.denoisers.caching.digest import sizes_digest
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import linear_sizes
from hwsearch.errors import InputError
from hwsearch.files import recover_folder
from hwsearch.formats.catalog import USUAL_FORMATS
from hwsearch.jobs.profiling.effort import Effort
from hwsearch.jobs.profiling.timers import OnnxTimers, Timers
from hwsearch.jobs.profiling.whole_model_runs import ROUNDS, PassTimes
from hwsearch.latency.devices.device import (
    Calibration,
    Device,
    DeviceInfo,
    Provenance,
    load_device,
)
from hwsearch.latency.devices.environment import environment, processor
from hwsearch.latency.devices.folder import (
    Journal,
    check_device_name,
    check_same,
    counts,
    write_device,
)
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.operators import OpKey, Workload
from hwsearch.latency.prediction.calibration import at_one_pace, calibration_plans, fit_lines
from hwsearch.latency.prediction.full_pass import full_pass_keys, predictor_of
from hwsearch.latency.prediction.whole_models import Whole, whole_frame, with_runs
from hwsearch.latency.timing.operator_times import Kept, operators_of, profile
from hwsearch.plan import WeightFormat
from hwsearch.progress import shown
from hwsearch.runtime.providers import CPU, Provider
from hwsearch.sinks import SinkProfile
from hwsearch.study.choices.search_space import THRESHOLDS
from hwsearch.study.preparation import SINK_QUESTIONS, default_workload, sink_profile
from hwsearch.tasks.choice import TaskChoice


@dataclass(frozen=True)
class MachineProfiler:
    """Makes one device of this machine and onnxruntime.

    Method: operators are timed in interleaved sessions, each with probes of its own, and the sessions
    that are finished are kept in a journal beside the device until it is written. Then plans are run
    whole, in several sessions too, which are brought to one pace; their operator sums against their
    times give the calibration. A device that is there is added to: only what it lacks is timed,
    and it is calibrated again only where its table grew.

    Limits: milliseconds are those of the machine while it was timed. Samples of another
    machine, or with other settings, are refused (`hwsearch.latency.devices.folder.SAME`).

    Attributes:
        name: the device's name.
        out: folder of devices; the device becomes a folder in it, whole or not at all.
        effort: threads, rounds and sessions.
        overwrite: time everything anew.
        timers: what times; None is onnxruntime on this machine.
        task: whose questions say how long a prompt is, and which positions are sinks.
        formats: that a model is timed in.
        provider: what of onnxruntime runs graphs.
    """

    name: str
    out: Path
    effort: Effort = field(default_factory=Effort)
    overwrite: bool = False
    timers: Timers | None = None
    task: TaskChoice = field(default_factory=TaskChoice)
    formats: tuple[WeightFormat, ...] = USUAL_FORMATS
    provider: Provider = CPU

    def time_model(
        self, denoiser: Denoiser, workload: Workload | None = None, kept: Kept | None = None
    ) -> Device:
        """Time a model's operators, and run plans of it whole where its calibration is missing.

        An autoregressive model is not exported, so nothing of it is run whole.

        Raises:
            InputError: the device was timed on another machine or with other settings.
        """
        denoiser = self.task.asking(denoiser)
        workload, kept = workload or default_workload(denoiser, self.task), kept or Kept()
        keys = self._operators_of(denoiser, workload, kept)
        if denoiser.is_causal:
            return self.time_operators(keys)
        before, table = self._operators(keys)
        info = before or machine_info(self.name, self.effort, self.provider)
        sizes, runs = sizes_digest(denoiser), None
        known = info.calibration(denoiser.name, sizes)
        if known is None or before is None or table.count() != before.samples:
            device = Device(info, table, self.out / self.name)
            fresh, runs = self._calibrate(device, denoiser, workload, kept)
            others = tuple(c for c in info.calibrations if c.model != denoiser.name)
            fresh = fresh.model_copy(update={"sizes": sizes})
            info = info.model_copy(update={"calibrations": (*others, fresh)})
        return finish(info, before, table, self.out, runs)

    def time_operators(self, keys: Sequence[OpKey]) -> Device:
        """Time operators alone: no whole model, so no calibration. Raises as `time_model`."""
        before, table = self._operators(keys)
        return finish(
            before or machine_info(self.name, self.effort, self.provider), before, table, self.out
        )

    def _operators_of(self, denoiser: Denoiser, workload: Workload, kept: Kept) -> list[OpKey]:
        if denoiser.is_cached:
            return operators_of(denoiser.geometry, workload, self.formats, kept)
        if kept != Kept():
            raise InputError(
                f"model {denoiser.name!r} has no heads and channels that hwsearch knows of, so there are "
                "no pruned sizes to time; leave out --kept-heads and --kept-channels"
            )
        return full_pass_keys(linear_sizes(denoiser.network), workload, self.formats)

    @property
    def _timers(self) -> Timers:
        rounds = min(ROUNDS, self.effort.rounds)
        return self.timers or OnnxTimers(self.effort.threads, self.provider, rounds)

    def _operators(self, keys: Sequence[OpKey]) -> tuple[DeviceInfo | None, LatencyTable]:
        """Time what the device and its unfinished run lack; the device as it was, and all samples."""
        check_device_name(self.name)
        if self.timers is None:
            self.provider.check()
        facts = environment() | {"threads": str(self.effort.threads)}
        journal = Journal(self.out, self.name, facts)
        if self.overwrite:
            journal.remove()
        before = None
        recover_folder(self.out / self.name)
        known = dict(journal.read())
        if (self.out / self.name / "device.toml").is_file() and not self.overwrite:
            device = load_device(self.out / self.name)
            before = device.info
            timed = before.environment | {"threads": str(before.threads)}
            fix = "give another --device, or --overwrite"
            check_same(timed, facts, str(self.out / self.name), fix)
            if before.runtime != self.provider.name:
                raise InputError(
                    f"{self.out / self.name} is of {before.runtime}, not of {self.provider.name}; {fix}"
                )
            known = dict(device.table.samples) | known
        table = profile(
            keys,
            timer=self._timers.operators,
            rounds=self.effort.rounds,
            sessions=self.effort.sessions,
            known=known,
            keep=journal.keep,
            progress=shown(f"timing {len(keys)} operators"),
        )
        return before, table

    def _calibrate(
        self, device: Device, denoiser: Denoiser, workload: Workload, kept: Kept
    ) -> tuple[Calibration, pd.DataFrame]:
        """The lines of a model, and every run that they were fitted on."""
        cached = denoiser.is_cached
        sinks = SinkProfile.keeping_all(denoiser.num_layers)
        if cached:
            questions = self.task.calibration_questions(SINK_QUESTIONS)
            sinks = sink_profile(denoiser, tuple(questions))
        plans = calibration_plans(
            denoiser.num_layers,
            device.table.formats(),
            THRESHOLDS if cached else (1.0,),
            mixed=self.effort.mixed_plans,
            sizes=kept.sizes(denoiser.geometry) if cached else None,
        )
        measured = self._timers.plans(denoiser, plans, sinks, workload, self.effort.sessions)
        lines, runs = calibrate(
            device, denoiser, workload, [sinks.keep(plan) for plan in plans], measured
        )
        if cached and lines.costs is not None:
            # beside quick passes a forecast is seen best
            quickest = plans[int(runs["generation_measured_ms"].argmin())]
            priced = self._timers.forecasts(
                denoiser, quickest, sinks, workload, self.effort.sessions
            )
            costs = lines.costs.model_copy(update={"forecast_ms": dict(priced)})
            lines = lines.model_copy(update={"costs": costs})
        return lines, runs


def profile_machine(
    denoiser: Denoiser,
    name: str,
    out: Path,
    *,
    workload: Workload | None = None,
    kept: Kept | None = None,
    effort: Effort | None = None,
    overwrite: bool = False,
    provider: Provider = CPU,
) -> Device:
    """Time a model's operators on this machine and write the device's folder.

    A device that is there is added to: only what it lacks is timed, and nothing where it
    lacks nothing. A run that was cut off goes on with the sessions that it has finished.

    Args:
        denoiser: whose shapes are timed, and whose plans calibrate the sums.
        name: the device's name.
        out: folder of devices; the device becomes a folder in it, whole or not at all.
        workload: what is generated; None takes the default task's median prompt.
        kept: shares of heads and channels that pruned layers keep.
        effort: threads, rounds and sessions.
        overwrite: time everything anew.
        provider: what of onnxruntime runs graphs.

    Raises:
        InputError: the device was timed on another machine, by another runtime or with other settings.
    """
    profiler = MachineProfiler(name, out, effort or Effort(), overwrite, provider=provider)
    return profiler.time_model(denoiser, workload, kept)


def calibrate(
    device: Device,
    denoiser: Denoiser,
    workload: Workload,
    plans: Sequence[KeptPlan],
    measured: Sequence[Sequence[PassTimes]],
) -> tuple[Calibration, pd.DataFrame]:
    """Fit how operator sums become pass times: on the medians over sessions, each at one pace.

    Args:
        device: whose operators are summed.
        denoiser: the model that was run whole.
        workload: what it generated.
        plans: what was run.
        measured: their times by session, then by plan.

    Returns:
        The lines, and every run that they were fitted on.
    """
    predictor = predictor_of(device, denoiser, workload)
    sums = [predictor.sums_ms(plan) for plan in plans]
    medians = [tuple(row) for row in np.median(at_one_pace(measured), axis=0).tolist()]
    lines = fit_lines(denoiser.name, workload, sums, medians)
    wholes = [
        Whole(pair, (refresh, step), generation, tuple(short))
        for pair, (refresh, step, generation, *short) in zip(sums, medians, strict=True)
    ]
    return lines, whole_frame(wholes, lines)


def finish(
    info: DeviceInfo,
    before: DeviceInfo | None,
    table: LatencyTable,
    out: Path,
    runs: pd.DataFrame | None = None,
) -> Device:
    """Write a device unless nothing changed, and forget what was kept of the unfinished one.

    Whole-model runs stand beside the table; a device that is timed anew keeps none of its old ones.
    """
    folder = out / info.name
    if info.model_copy(update=counts(table)) != before:
        write_device(info, table, out, with_runs(folder if before else None, runs))
    Journal(out, info.name, {}).remove()
    return load_device(folder)


def machine_info(name: str, effort: Effort, provider: Provider = CPU) -> DeviceInfo:
    """This machine, before it was timed."""
    return DeviceInfo(
        name=name,
        provenance=Provenance.MEASURED,
        description=processor(),
        runtime=provider.name,
        threads=effort.threads,
        environment=environment(),
    )
