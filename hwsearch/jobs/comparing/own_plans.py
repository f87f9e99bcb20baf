"""Each device's own plan in a comparison: solved by a study's loss model, and tried if asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.errors import HwsearchError, InputError
from hwsearch.jobs.predicted_model import Subject
from hwsearch.latency.devices.device import Device, load_device
from hwsearch.latency.prediction.comparison import ComparedPlan, Cost, adapt
from hwsearch.latency.prediction.protocol import LatencyPredictor
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.study.objective import Objective
from hwsearch.study.other_devices import best_elsewhere
from hwsearch.study.preparation.reopening import reopen
from hwsearch.study.records.study import Study, load_study
from hwsearch.study.retargeting import CAUTION


@dataclass(frozen=True, eq=False)
class Pricing:
    """What plans cost on a device, and the most that they may.

    Attributes:
        subject: the model.
        device: the device.
        decoding: how plans decode that do not say.
        passes: of decodings that were tried, which no device changes.
        cost: what is compared.
        ratio: the target, as a share of the device's uncompressed plan.
    """

    subject: Subject
    device: Device
    decoding: Decoding
    passes: dict[Decoding | None, PassCounts]
    cost: Cost
    ratio: float

    def price(self, plan: CompressionPlan) -> float:
        """Cost of a plan. Raises `HwsearchError` where the device cannot run it."""
        own, why_not = adapt(plan, self.device.costs.formats())
        if why_not:
            raise InputError(why_not)
        if plan.decoding not in self.passes:
            raise InputError("no trial decoded in this way, so its passes are not known")
        predictor = self._predictor.given(self.passes[plan.decoding])
        return self.cost(predictor, self.subject.keep(own))

    def meets(self, candidate: ComparedPlan) -> bool:
        """Whether the device can run a candidate within the target."""
        try:
            return self.price(candidate.plan) <= self.most
        except HwsearchError:
            return False

    @cached_property
    def most(self) -> float:
        """The most that a plan may cost."""
        whole = self.device.uncompressed(self.subject.geometry.num_layers)
        return self.ratio * self.cost(self._predictor, self.subject.keep(whole))

    @cached_property
    def _predictor(self) -> LatencyPredictor:
        return self.subject.predictor(self.device, self.decoding)


class StudyPlans:
    """A study's finished trials, and what it predicts for devices.

    Args:
        name: the study.
        storage: Optuna storage; None is ``studies/<name>.db``.

    Attributes:
        study: the study, as it is after what was evaluated.
        candidates: its trials, in their order.
    """

    def __init__(self, name: str, storage: str | None) -> None:
        self._name, self._storage = name, storage
        self._read()

    def _read(self) -> None:
        self.study: Study = load_study(self._name, self._storage)
        frame, passes = self.study.frame(), self.study.passes()
        self.candidates = [
            ComparedPlan(f"trial {number}", plan, float(loss), float(loss), passes[number])
            for number, loss, plan in zip(
                frame["number"], frame["loss"], frame["plan"], strict=True
            )
        ]

    @property
    def passes(self) -> dict[Decoding | None, PassCounts]:
        """Of every decoding that was tried, those of the trial that lost least under it."""
        tried = sorted(self.candidates, key=lambda one: -one.rank)
        return {one.plan.decoding: one.passes for one in tried if one.passes is not None}

    def own(self, pricing: Pricing) -> ComparedPlan | None:
        """The plan that the loss model has for a device; None where a trial is as good, or none is known.

        Its rank is as careful as `hwsearch.study.retargeting`: a predicted loss must lie a standard deviation
        below a measured one to be preferred.
        """
        try:
            found = best_elsewhere(self.study, pricing.price, pricing.most)
        except (
            HwsearchError
        ):  # no costs are kept, or the device runs none; the trials' own row says which
            return None
        if found is None:
            return None
        name = f"for {pricing.device.info.name}"
        rank = found.loss + CAUTION * found.spread
        known = pricing.passes.get(found.plan.decoding)
        return ComparedPlan(name, found.plan, rank, found.loss, known, found.spread)

    def prefers(self, found: ComparedPlan, pricing: Pricing) -> bool:
        """Whether a predicted plan is to be preferred to every trial that meets a device's target."""
        better = (one for one in self.candidates if one.rank <= found.rank)
        return not any(pricing.meets(one) for one in better)

    def evaluate(self, plan: CompressionPlan) -> None:
        """Try a plan as another trial of the study."""
        optuna_study = self.study.optuna
        optuna_study.enqueue_trial(dict(self.study.space.params(plan)))
        optuna_study.optimize(self._objective, n_trials=1)
        self._read()

    @cached_property
    def _objective(self) -> Objective:
        record = self.study.record
        denoiser = record.loading.load(record.kept("model"))
        return reopen(self.study, denoiser, load_device(record.kept("device_folder")))
