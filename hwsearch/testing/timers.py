"""Timing without a clock: operators cost what a formula says, whole models what a known line says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.forecast.settings import METHODS
from hwsearch.jobs.profiling.effort import Effort
from hwsearch.jobs.profiling.onnxruntime import machine_info
from hwsearch.jobs.profiling.whole_model_runs import PassTimes
from hwsearch.latency.devices.costs import Group, Sums
from hwsearch.latency.devices.device import Device
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.generations import ScheduledGeneration, scheduled_generations
from hwsearch.latency.operators import OpKey, Workload
from hwsearch.latency.prediction.full_pass import predictor_of
from hwsearch.latency.timing.clock import interleave
from hwsearch.latency.timing.operator_times import Kept, operators_of
from hwsearch.plan import CompressionPlan
from hwsearch.sinks import SinkProfile
from hwsearch.testing.device import formula_us

#: A sample of the fake clock is this long at most, so that it takes few calls.
SAMPLE_SECONDS = 1e-5


class FakeClock:
    """Seconds that pass only while something runs.

    Attributes:
        now: the time.
        order: what ran, in order.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[object] = []

    def __call__(self) -> float:
        """The time, in seconds."""
        return self.now

    def taking(self, name: object, seconds: float) -> Callable[[], None]:
        """Something that takes so long, called by a name."""

        def run() -> None:
            self.order.append(name)
            self.now += seconds

        return run


@dataclass
class FormulaTimers:
    """The timers of a machine whose truth is known; satisfies `hwsearch.jobs.profiling.timers.Timers`.

    Operators take `scale` times `formula_us`. A pass takes ``intercept + slope * sum of factor *
    operators``, a generation what its passes take, ``overhead_ms``, and what each pass and refresh cost
    beside; all of it times the pace of its session. So a profile must find line, factors and costs again,
    and no trace of the pace.

    Attributes:
        intercept_ms: of a pass.
        slope: of a pass.
        factors: what operators of a group are worth in a model; others are worth what they cost alone.
        overhead_ms: of a generation.
        between_ms: of a generation, for each of its passes.
        filling_ms: and for each of its refreshes.
        forecast_ms: of every method of forecasts, after a pass.
        scale: of all operators, so that the quickest outlast the decimals of a table.
        pace: of each session, by its number; further sessions have that of the last.
        operator_calls: what was asked of `operators`: keys, rounds and seed.
        plan_calls: what was asked of `plans`: the plans.
        clock: advances by what is timed.
    """

    intercept_ms: float = 0.5
    slope: float = 1.25
    factors: Mapping[Group, float] = field(default_factory=dict)
    overhead_ms: float = 2.0
    between_ms: float = 0.3
    filling_ms: float = 0.7
    forecast_ms: float = 0.4
    scale: float = 100.0
    pace: Sequence[float] = (1.0,)
    operator_calls: list[tuple[tuple[OpKey, ...], int, int]] = field(default_factory=list)
    plan_calls: list[tuple[CompressionPlan, ...]] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)

    def operators(
        self, keys: Sequence[OpKey], rounds: int, seed: int
    ) -> Mapping[OpKey, Sequence[float]]:
        """Samples in microseconds, interleaved by the product's own code on the fake clock."""
        self.operator_calls.append((tuple(keys), rounds, seed))
        pace = self._pace(seed)
        runs = {
            key: self.clock.taking(key, pace * self.scale * formula_us(key) / 1e6) for key in keys
        }
        return interleave(runs, rounds, sample_seconds=SAMPLE_SECONDS, clock=self.clock, seed=seed)

    def plans(
        self,
        denoiser: Denoiser,
        plans: Sequence[CompressionPlan],
        sinks: SinkProfile,
        workload: Workload,
        sessions: int,
    ) -> Sequence[Sequence[PassTimes]]:
        """Refresh, step and generations of each plan in milliseconds, session by session."""
        self.plan_calls.append(tuple(plans))
        predictor = predictor_of(self.truth(denoiser, workload), denoiser, workload)
        times = [self._times(predictor.sums_ms(sinks.keep(plan)), workload) for plan in plans]
        return [
            [tuple(self._pace(s) * ms for ms in plan) for plan in times] for s in range(sessions)
        ]

    def forecasts(
        self,
        denoiser: Denoiser,
        plan: CompressionPlan,
        sinks: SinkProfile,
        workload: Workload,
        sessions: int,
    ) -> Mapping[str, float]:
        """What every method costs after a pass."""
        return dict.fromkeys(METHODS, self.forecast_ms)

    def _times(self, sums: tuple[Sums, Sums], workload: Workload) -> PassTimes:
        refresh, step = (
            self.intercept_ms
            + self.slope * sum(self.factors.get(group, 1.0) * ms for group, ms in part.items())
            for part in sums
        )
        generations = scheduled_generations(workload.decoding)
        return refresh, step, *(self.generation_ms(one, refresh, step) for one in generations)

    def generation_ms(self, timed: ScheduledGeneration, refresh_ms: float, step_ms: float) -> float:
        """What a generation takes whose passes take so long alone."""
        steps = timed.passes - timed.refreshes
        alone = timed.refreshes * refresh_ms + steps * step_ms
        beside = self.between_ms * timed.passes + self.filling_ms * timed.refreshes
        return self.overhead_ms + beside + alone

    def _pace(self, session: int) -> float:
        return self.pace[min(session, len(self.pace) - 1)]

    def truth(self, denoiser: Denoiser, workload: Workload) -> Device:
        """A device whose table holds what operators cost, those of some pruned sizes too."""
        kept = Kept((0.25, 0.5, 0.75), (0.25, 0.5, 0.75))
        keys = operators_of(denoiser.geometry, workload, kept=kept)
        table = LatencyTable({key: ((self.scale * formula_us(key),),) for key in keys})
        return Device(machine_info("truth", Effort()), table, Path("truth"))
