"""What a report knows of a study: read once, asked by every section."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import pandas as pd

from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.errors import HwsearchError
from hwsearch.formats.catalog import FORMATS
from hwsearch.latency.devices.device import Device
from hwsearch.latency.devices.places import device_folders
from hwsearch.latency.prediction.uncertainty import Latency
from hwsearch.plan import CompressionPlan, WeightFormat
from hwsearch.report.study.pricing import Spent, StudyPricing, study_device
from hwsearch.report.study.section import MissingFactsError
from hwsearch.report.study.words import decoding_words, target_words
from hwsearch.study import Study, is_uniform
from hwsearch.study.records.outcome import WINNER, Outcome, outcomes_of
from hwsearch.study.records.record import StudyRecord

T = TypeVar("T")


@dataclass(frozen=True)
class Chosen:
    """A plan of the study that the page is about, or holds others against.

    Attributes:
        plan: the plan.
        number: of its trial; None where no finished trial tried it.
        why: why it is this one.
        outcome: how it was measured; None where it was not.
    """

    plan: CompressionPlan
    number: int | None
    why: str
    outcome: Outcome | None


@dataclass(frozen=True, eq=False)
class Facts:
    """A study, and what follows from what it keeps.

    Attributes:
        study: the study.
        argument: how it is named on a command line, with its storage where it needs one.
        trial: the trial that the page shall be about; None takes the plan that was measured as the
            winner, or else the study's best.
    """

    study: Study
    argument: str
    trial: int | None = None

    @cached_property
    def record(self) -> StudyRecord:
        """What the study keeps beside its trials."""
        return self.study.record

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Every finished trial; see `Study.frame`."""
        return self.study.frame()

    @cached_property
    def front(self) -> pd.DataFrame:
        """The front; see `Study.front`."""
        return self.study.front()

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """Plans that were measured."""
        return outcomes_of(self.record)

    @cached_property
    def passes(self) -> dict[int, PassCounts]:
        """Passes of each finished trial's plan."""
        return self.study.passes()

    @cached_property
    def chosen(self) -> Chosen:
        """The plan that the page is about."""
        winner = self._outcome_named(WINNER)
        if self.trial is not None:
            return self._as_chosen(self.study.plan(self.trial), "the trial that was asked for")
        if winner is not None:
            return self._as_chosen(winner.plan, "it was measured as the winner")
        try:
            return self._as_chosen(self.study.best_plan, self._why_best())
        except HwsearchError:
            if self.frame.empty:
                raise
        fastest = self.frame.sort_values(["generation_ms", "loss"]).iloc[0]["plan"]
        return self._as_chosen(fastest, "no plan meets the target, and this is the fastest")

    def _why_best(self) -> str:
        if self.study.finalists is not None:
            return "it won among the finalists"
        return "it loses least of those predicted to meet the target"

    @cached_property
    def baseline(self) -> Chosen | None:
        """The uncompressed model by its makers' decoding; None where no trial or outcome is of it."""
        plans = [*self.frame["plan"], *(outcome.plan for outcome in self.outcomes)]
        found = next((plan for plan in plans if self.is_uncompressed(plan)), None)
        return None if found is None else self._as_chosen(found, "it is the uncompressed model")

    @cached_property
    def best_uniform(self) -> Chosen | None:
        """The best plan within the target that treats all layers alike; None where none meets it."""
        found = self.study.feasible(uniform=True)
        if found.empty:
            return None
        return self._as_chosen(
            found.iloc[0]["plan"], "it is the best plan that treats layers alike"
        )

    def is_uncompressed(self, plan: CompressionPlan) -> bool:
        """Whether a plan does nothing to a model."""
        first = plan.layers[0]
        whole = first.sink_threshold == 1.0 and not first.prunes and plan.decoding is None
        return whole and is_uniform(plan) and plan.head == self._widest

    @cached_property
    def _widest(self) -> WeightFormat:
        return max(self.study.space.formats, key=lambda fmt: FORMATS[fmt].bits)

    def _as_chosen(self, plan: CompressionPlan, why: str) -> Chosen:
        row = self.row(plan)
        outcome = next((one for one in reversed(self.outcomes) if one.plan == plan), None)
        return Chosen(plan, None if row is None else int(row["number"]), why, outcome)

    def _outcome_named(self, name: str) -> Outcome | None:
        return next((one for one in self.outcomes if one.name == name), None)

    def row(self, plan: CompressionPlan) -> pd.Series | None:
        """The finished trial of a plan, the one of least loss where there are several."""
        rows = self.frame[self.frame["plan"] == plan]
        return None if rows.empty else rows.sort_values("loss").iloc[0]

    @cached_property
    def pricing(self) -> StudyPricing:
        """Predicts plans. Raises `MissingFactsError`."""
        return StudyPricing.of(self.record, self.search_again())

    @cached_property
    def device(self) -> Device:
        """The study's device. Raises `MissingFactsError`."""
        return study_device(self.record)

    def passes_of(self, chosen: Chosen) -> PassCounts:
        """Passes of a plan.

        Raises:
            MissingFactsError: they depend on its text, and no trial counted them.
        """
        if chosen.number is not None:
            return self.passes[chosen.number]
        try:
            return PassCounts.scheduled(chosen.plan.decoding or self.record.decoding_value)
        except HwsearchError as error:
            raise MissingFactsError(
                f"How many passes the plan makes depends on its text, and no trial counted them; "
                f"`{self.search_again()}` tries more plans."
            ) from error

    def latency(self, chosen: Chosen) -> Latency:
        """Predicted times of a plan. Raises `MissingFactsError`."""
        return self._priced(self.pricing.predict, chosen)

    def spent(self, chosen: Chosen) -> list[Spent]:
        """What a plan's predicted time goes into. Raises `MissingFactsError`."""
        return self._priced(self.pricing.spent, chosen)

    def _priced(
        self, price: Callable[[Device, CompressionPlan, PassCounts], T], chosen: Chosen
    ) -> T:
        passes = self.passes_of(chosen)
        try:
            return price(self.device, chosen.plan, passes)
        except HwsearchError as error:
            raise MissingFactsError(
                f"Device {self.record.device} cannot price the plan any more ({error}); put its files back."
            ) from error

    def decoding(self, plan: CompressionPlan) -> str:
        """How a plan decodes, in a few words."""
        makers = None if self.record.decoding is None else self.record.decoding_value
        return decoding_words(plan.decoding, makers)

    @property
    def predicted_target(self) -> str:
        """What the search held predictions against, in its own unit."""
        return target_words(self.study.unit.show(self.study.target_ms), "predicted")

    def search_again(self) -> str:
        """The command that goes on with the study."""
        if self.record.command is not None and self.record.command.startswith("hwsearch demo"):
            return self.record.command
        known = self.record.device in device_folders()
        named = self.record.device if known else self.record.device_folder or self.record.device
        model, device = (shlex.quote(str(name)) for name in (self.record.model, named))
        target = f"--target-ms {self.study.target_ms:.6g}"
        if self.study.unit.symbol == "J":
            target = f"--target-joules {self.study.unit.of(self.study.target_ms):.6g}"
        return (
            f"hwsearch search --model {model} --device {device} {target} "
            f"--trials {len(self.frame)} --name {shlex.quote(self.study.name)}"
        )

    def export_command(self, number: int | None = None, out: str = "bundle") -> str:
        """The command that exports, times and scores a trial's plan; the best one if none is named."""
        plan = "" if number is None else f" --plan {number}"
        return f"hwsearch export {self.argument}{plan} -o {out}"
