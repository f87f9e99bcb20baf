"""What a profile needs of a clock: operators timed side by side, and plans run whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.jobs.profiling.whole_model_runs import ROUNDS, PassTimes, run_forecasts, run_plans
from hwsearch.latency.operators import OpKey, Workload
from hwsearch.latency.timing.operator_times import OnnxOperatorTimer
from hwsearch.plan import CompressionPlan
from hwsearch.runtime.providers import CPU, Provider
from hwsearch.sinks import SinkProfile


class Timers(Protocol):
    """Times a machine. `hwsearch.testing.timers.FormulaTimers` does without a clock."""

    def operators(
        self, keys: Sequence[OpKey], rounds: int, seed: int
    ) -> Mapping[OpKey, Sequence[float]]:
        """One session of operators; see `hwsearch.latency.timing.operator_times.OperatorTimer`."""

    def plans(
        self,
        denoiser: Denoiser,
        plans: Sequence[CompressionPlan],
        sinks: SinkProfile,
        workload: Workload,
        sessions: int,
    ) -> Sequence[Sequence[PassTimes]]:
        """Plans run whole: their times by session, then by plan."""

    def forecasts(
        self,
        denoiser: Denoiser,
        plan: CompressionPlan,
        sinks: SinkProfile,
        workload: Workload,
        sessions: int,
    ) -> Mapping[str, float]:
        """Milliseconds that each method of forecasts costs after a pass of a plan."""


@dataclass(frozen=True)
class OnnxTimers:
    """Times this machine with onnxruntime.

    Attributes:
        threads: threads of an operator.
        provider: what of it runs graphs.
        rounds: samples of a plan's passes and generations in a session.
    """

    threads: int = 1
    provider: Provider = CPU
    rounds: int = ROUNDS

    def operators(
        self, keys: Sequence[OpKey], rounds: int, seed: int
    ) -> Mapping[OpKey, Sequence[float]]:
        """See `Timers.operators`."""
        return OnnxOperatorTimer(self.threads, self.provider)(keys, rounds, seed)

    def plans(
        self,
        denoiser: Denoiser,
        plans: Sequence[CompressionPlan],
        sinks: SinkProfile,
        workload: Workload,
        sessions: int,
    ) -> Sequence[Sequence[PassTimes]]:
        """See `Timers.plans`."""
        return run_plans(
            denoiser,
            plans,
            sinks,
            workload,
            threads=self.threads,
            rounds=self.rounds,
            sessions=sessions,
            provider=self.provider,
        )

    def forecasts(
        self,
        denoiser: Denoiser,
        plan: CompressionPlan,
        sinks: SinkProfile,
        workload: Workload,
        sessions: int,
    ) -> Mapping[str, float]:
        """See `Timers.forecasts`."""
        return run_forecasts(
            denoiser,
            plan,
            sinks,
            workload,
            threads=self.threads,
            rounds=self.rounds,
            sessions=sessions,
            provider=self.provider,
        )
