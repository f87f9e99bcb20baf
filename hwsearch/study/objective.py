"""One trial: a plan in, its loss and its predicted latency (and energy) out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import optuna

from hwsearch.compression import WeightBank, Workbench
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.forecasts import ForecastFitter
from hwsearch.denoisers.network import Network
from hwsearch.latency.prediction.protocol import LatencyPredictor
from hwsearch.latency.prediction.uncertainty import Latency
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.sinks import SinkProfile
from hwsearch.study.answering import Answering, PlanAnswers
from hwsearch.study.choices.cost_tables import ChoiceCosts, CostTables
from hwsearch.study.choices.search_space import DECODING, SearchSpace, is_uniform
from hwsearch.study.early_stopping import NEVER, EarlyStopping, RunningTrial
from hwsearch.study.goal import ResolvedGoal, Unit, joule_unit
from hwsearch.study.records.trial_record import update_trial
from hwsearch.study.samplers.catalog import ENERGY, LATENCY, SIZE, Known
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses import GradualLoss, Loss
from hwsearch.tasks.losses.by_state import StateLoss

#: Share by which a compressed model's passes may be fewer than the uncompressed model's.
PASSES_ROOM = 0.03


@dataclass(frozen=True, eq=False)
class Objective:
    """Callable for `optuna.Study.optimize`; everything that trials share is made beforehand.

    Attributes:
        denoiser: the uncompressed model.
        space: the choices.
        predictor: milliseconds of a plan.
        sinks: kept shares of a plan.
        loss_function: what judges a plan.
        bank: modules quantised so far.
        goal: what is minimised, and what no plan may exceed.
        early: when a trial need not go on to its end.
        content: what all this is, by digest; see `hwsearch.study.records.identity`.
        answering: asks plans calibration problems, where the space offers decodings; else None.
        fitter: fits forecasts, where one of them foresees passes; else None.
        task: what finalists, references and scores are asked.
    """

    denoiser: Denoiser
    space: SearchSpace
    predictor: LatencyPredictor
    sinks: SinkProfile
    loss_function: Loss
    bank: WeightBank
    goal: ResolvedGoal
    early: EarlyStopping = NEVER
    content: Mapping[str, str] = field(default_factory=dict)
    answering: Answering | None = None
    fitter: ForecastFitter | None = None
    task: TaskChoice = field(default_factory=TaskChoice)

    @property
    def target_ms(self) -> float:
        """Predicted generation time that a plan may not exceed."""
        return self.goal.target_ms

    @property
    def unit(self) -> Unit:
        """What the target and the second objective are shown in."""
        return self.goal.unit

    @property
    def max_bytes(self) -> int | None:
        """Bytes of weights that a plan may not exceed; None does not limit them."""
        return self.goal.max_bytes

    @property
    def max_joules(self) -> float | None:
        """Energy that a plan may not exceed beside the target; None does not limit it."""
        return self.goal.max_joules

    @property
    def is_multi_objective(self) -> bool:
        """Whether latency, or energy, is an objective of its own, beside the loss."""
        return self.goal.objective.is_multi_objective

    def with_goal(self, **changes: Any) -> Objective:
        """The same with some of its goal changed; all that trials share is shared with it."""
        made = replace(self, goal=replace(self.goal, **changes))
        # what was found out, such as the tables of costs, is true for every goal
        vars(made).update(vars(self) | {"goal": made.goal})
        return made

    def with_target_ms(self, target_ms: float) -> Objective:
        """The same with another target."""
        return self.with_goal(target_ms=target_ms)

    def __call__(self, trial: optuna.Trial) -> Sequence[float]:
        """Loss of the trial's plan, with two objectives also its milliseconds or joules.

        Latency and bytes go into constraints and attributes. Where the loss is no finite number, the
        values are NaN: Optuna fails such a trial, and no front has it.

        Raises:
            optuna.TrialPruned: the trial stopped early.
        """
        plan = self.space.suggest(trial)
        latency = self.latency(plan)
        self._describe(trial, plan, latency)
        loss = self.loss(plan) if self.early.never else self._judge(trial, plan)
        values = self.values(plan, loss)
        if not math.isfinite(loss):
            update_trial(trial, failure=f"its loss is {loss}, no finite number")
            return [math.nan] * len(values)
        return values

    def _judge(self, trial: optuna.Trial, plan: CompressionPlan) -> float:
        """Loss of a trial's plan, unless it stops early."""
        feasible = all(over <= 0 for over in self.constraints(plan).values())
        # uniform plans are what the others are held against
        running = RunningTrial(
            self.by_state(plan), feasible, partial(self.values, plan), protected=is_uniform(plan)
        )
        return self.early.judge(trial, running, self.loss_function.cost)

    def values(self, plan: CompressionPlan, loss: float) -> list[float]:
        """A trial's values, given its loss."""
        return (
            [loss, self.unit.of(self.latency(plan).generation_ms)]
            if self.is_multi_objective
            else [loss]
        )

    def constraints(self, plan: CompressionPlan) -> dict[str, float]:
        """What a plan exceeds each limit by; it must be 0 or less."""
        return self._constraints(plan, self.latency(plan))

    def _constraints(self, plan: CompressionPlan, latency: Latency) -> dict[str, float]:
        over: dict[str, float] = {}
        generation_ms = latency.generation_ms
        if not self.is_multi_objective:
            over[LATENCY] = generation_ms - self.target_ms
        if self.max_joules is not None:
            over[ENERGY] = self.energy.of(generation_ms) - self.max_joules
        if self.max_bytes is not None:
            over[SIZE] = float(size_bytes(self.denoiser, plan) - self.max_bytes)
        return over

    def meets(self, plan: CompressionPlan) -> bool:
        """Whether a plan stays within the target and within all limits, as far as is known untried.

        One whose passes must be counted has `PASSES_ROOM`: it may make fewer than are expected.
        """
        latency = self.expected_latency(plan)
        if plan.decoding is not None and plan.decoding.commit is not None:
            least_ms = latency.generation_ms / (1.0 + PASSES_ROOM)
            latency = replace(latency, generation_ms=least_ms)
        within = latency.generation_ms <= self.target_ms
        return within and all(over <= 0 for over in self._constraints(plan, latency).values())

    def _describe(self, trial: optuna.Trial, plan: CompressionPlan, latency: Latency) -> None:
        """Write the plan's constraints and what the dashboard shows of it."""
        for name, over in self.constraints(plan).items():
            trial.set_constraint(name, over)
        update_trial(
            trial,
            generation_ms=latency.generation_ms,
            generation_joules=latency.generation_joules,
            size_bytes=size_bytes(self.denoiser, plan),
            passes=None if plan.decoding is None else self.passes(plan).document(),
        )

    @cached_property
    def workbench(self) -> Workbench:
        """Makes plans ready to be judged."""
        return Workbench(self.denoiser, self.sinks, self.bank, self.fitter)

    def latency(self, plan: CompressionPlan) -> Latency:
        """Predicted times of a plan, by the passes that it was seen to make itself."""
        if plan.decoding is None or plan.decoding.commit is None:
            return self.expected_latency(plan)
        return self.predictor.given(self.passes(plan)).predict(self.workbench.keep(plan))

    def expected_latency(self, plan: CompressionPlan) -> Latency:
        """The same by the passes of the uncompressed model: exact for every decoding by a schedule."""
        return self._expecting(plan.decoding).predict(self.workbench.keep(plan))

    def expected_layers_ms(self, plan: CompressionPlan) -> list[float]:
        """What each layer of a plan adds to its `expected_latency`."""
        return self._expecting(plan.decoding).layers_ms(self.workbench.keep(plan))

    def passes(self, plan: CompressionPlan) -> PassCounts:
        """The passes of a plan's generations."""
        decoding = plan.decoding
        if decoding is None or decoding.commit is None:
            return self._uncompressed(decoding)
        recalled = self._recalled.get(plan)
        return self._answered(plan).passes if recalled is None else recalled

    def recall(self, plan: CompressionPlan, passes: PassCounts) -> None:
        """Tell what passes a plan makes, as another study counted them: it is not asked again for these."""
        self._recalled[plan] = passes

    @cached_property
    def _recalled(self) -> dict[CompressionPlan, PassCounts]:
        return {}

    def _uncompressed(self, decoding: Decoding | None) -> PassCounts:
        if decoding is None or self.answering is None:
            return self.predictor.workload.passes
        return self.answering.uncompressed(decoding)

    def _answered(self, plan: CompressionPlan) -> PlanAnswers:
        """What a plan with a commit policy answered; asked once."""
        assert self.answering is not None and plan.decoding is not None, "the space offers it"
        found = self._known_answers.get(plan)
        if found is None:
            found = self.answering.ask(*self.workbench.network(plan), plan.decoding)
            self._known_answers[plan] = found
        return found

    @cached_property
    def _known_answers(self) -> dict[CompressionPlan, PlanAnswers]:
        return {}

    @cached_property
    def _predictors(self) -> dict[Decoding | None, LatencyPredictor]:
        return {None: self.predictor}

    def _expecting(self, decoding: Decoding | None) -> LatencyPredictor:
        """The predictor of the uncompressed model's passes, made once: tables ask for thousands of plans."""
        found = self._predictors.get(decoding)
        if found is None:
            found = self._predictors[decoding] = self.predictor.given(self._uncompressed(decoding))
        return found

    def price(self, plan: CompressionPlan) -> float:
        """What a plan's decoding adds to its loss; see `hwsearch.study.answering`."""
        if plan.decoding is None or plan.decoding.commit is None:
            return 0.0
        return self._answered(plan).price

    def loss(self, plan: CompressionPlan) -> float:
        """Loss of a plan, in the unit of the loss function, and the price of its decoding."""
        return self.loss_function.loss(*self.workbench.network(plan)) + self.price(plan)

    def loss_on(self, network: Network, kept: KeptShares, decoding: Decoding | None) -> float:
        """The same of a network that no plan makes, decoded anew."""
        loss = self.loss_function.loss(network, kept)
        if decoding is None or self.answering is None:
            return loss
        return loss + self.answering.ask(network, kept, decoding).price

    def by_state(self, plan: CompressionPlan) -> Iterator[StateLoss]:
        """Loss of a plan, state by state, if the loss function can tell; the price is in each."""
        assert isinstance(self.loss_function, GradualLoss), "EarlyStopping.check comes first"
        price = self.price(plan)
        for state in self.loss_function.by_state(*self.workbench.network(plan)):
            yield replace(state, loss=state.loss + price, so_far=state.so_far + price)

    @cached_property
    def times(self) -> CostTables:
        """Milliseconds of every plan, exactly: a sum of tables over parameters that act together.

        Each parameter acts by itself unless heads, channels, the cache or the decoding may be chosen.
        Passes are those of the uncompressed model, which compression changes little.
        """
        return CostTables.measure(
            self.space, lambda plan: self.expected_latency(plan).generation_ms
        )

    @cached_property
    def weights(self) -> CostTables:
        """Bytes of every plan's weights, in the same way."""
        return CostTables.measure(self.space, lambda plan: size_bytes(self.denoiser, plan), False)

    def costs(self) -> ChoiceCosts:
        """What each choice of each parameter adds to the generation time, in milliseconds.

        Added to the time of the plan of first choices. Exact where `times` are additive, or else
        the mean over all plans of the space.
        """
        return self.times.by_choice

    def sizes(self) -> ChoiceCosts:
        """What each choice of each parameter adds to the bytes of the weights, in the same way."""
        return self.weights.by_choice

    @cached_property
    def first(self) -> CompressionPlan:
        """The plan of every parameter's first choice, to which `costs` and `sizes` add."""
        return self.space.plan(dict.fromkeys(self.space.parameters(), 0))

    @property
    def energy(self) -> Unit:
        """Joules on the device. Raises `InputError` where its power is unknown."""
        return joule_unit(self.predictor.device.info.known_power.watts)

    def limits(self) -> list[tuple[Unit, float]]:
        """What no plan may exceed, in milliseconds, each with the unit it was given in."""
        found = [] if self.is_multi_objective else [(self.unit, self.target_ms)]
        if self.max_joules is not None:
            found.append((self.energy, self.energy.to_ms(self.max_joules)))
        return found

    def budget_ms(self) -> float:
        """Milliseconds that the choices of a plan may add together, on the scale of `costs`."""
        most_ms = min([self.target_ms, *(ms for _, ms in self.limits())])
        return most_ms - self.times.first

    def known(self) -> Known:
        """What a sampler may know before the first trial."""
        budget_ms = None if self.is_multi_objective else self.budget_ms()
        return Known(
            self.space.distributions(),
            self.times,
            budget_ms,
            self.space.kinds(),
            {} if self.is_multi_objective else self._within_reach(),
        )

    def _within_reach(self) -> dict[str, int]:
        """The most careful decoding under which a uniform plan meets the target, as a parameter.

        What the other choices do is looked at under this one: under the makers' it tells nothing of a
        target that no plan can meet there.
        """
        decodings = self.space.decodings
        if DECODING not in self.space.plan_dials:
            return {}
        within = {plan.decoding for plan in self.space.uniform_plans() if self.meets(plan)}
        places = [place for place, decoding in enumerate(decodings) if decoding in within]
        return {DECODING: min(places, default=len(decodings) - 1)}


def size_bytes(denoiser: Denoiser, plan: CompressionPlan) -> int:
    """Bytes of a plan's weights: codes and scales of the linears, float32 for the rest."""
    return denoiser.plan_bytes(plan)
