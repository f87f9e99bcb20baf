"""What a search, a comparison and a report ask of whoever predicts a model's times."""

from __future__ import annotations

from typing import Protocol

from hwsearch.decoding.kept import KeptPlan
from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.latency.devices.costs import Sums
from hwsearch.latency.devices.device import Calibration, Device
from hwsearch.latency.operators import Workload
from hwsearch.latency.prediction.uncertainty import Latency


class LatencyPredictor(Protocol):
    """Predicts plans of one model on one device, for one workload.

    `Predictor` prices models with cached passes operator by operator; `FullPassPredictor` prices
    modules of one's own, of which only the linears are known. `predictor_of` takes the one that suits
    a model.
    """

    @property
    def device(self) -> Device:
        """The device and what operators cost on it."""

    @property
    def workload(self) -> Workload:
        """What is generated."""

    @property
    def calibration(self) -> Calibration | None:
        """How sums become times; None where no whole model was run."""

    def given(self, passes: PassCounts) -> LatencyPredictor:
        """The same for generations of other passes, written by another decoding perhaps."""

    def predict(self, plan: KeptPlan) -> Latency:
        """Milliseconds of a plan, with 10th and 90th percentiles where the error is known.

        Raises:
            MissingShapeError: the device cannot price an operator.
            PlanError: a layer shall keep more heads or channels than there are.
            InputError: the prediction needs whole-model runs, and there were none.
        """

    def energy_j(self, plan: KeptPlan) -> float:
        """Joules of a generation: power while a model ran, as measured, times predicted time.

        Raises:
            InputError: nobody measured or published the device's power.
        """

    def sums_ms(self, plan: KeptPlan) -> tuple[Sums, Sums]:
        """Uncalibrated operator sums of a refresh and of a step, by group: what lines are fitted to."""

    def layers_ms(self, plan: KeptPlan) -> list[float]:
        """What each layer of a plan adds to a generation; exactly additive over layers."""

    def binding(self, plan: KeptPlan) -> tuple[str, str] | None:
        """What takes most of a refresh and of a step; None where that is not known."""
