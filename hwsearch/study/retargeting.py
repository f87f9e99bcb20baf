"""Another target for a finished study: solved from its trials, without any new evaluation.

The idea: a target only says where the front of loss and time is cut. Each trial has found a loss
that holds for every target, and the study keeps the tables of what each choice costs and weighs
(`hwsearch.study.choices.cost_tables`), so neither the model nor the device is needed.

The steps: check by the tables that some plan meets the target; take the best finished trial within
it; ask the additive model of the loss, fitted to all trials, for the best plan within it; and prefer
that one only where its prediction lies `CAUTION` standard deviations below the best measured loss.

Limits: a predicted loss is no evaluated one, and says so; far from the target that was searched for
few trials lie near the new one, so the prediction is wide. A study from before the tables were kept
must be searched on once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsearch.errors import InfeasibleTargetError, InputError, StudyError
from hwsearch.plan import CompressionPlan
from hwsearch.study.choices.cost_tables import CostTables
from hwsearch.study.choices.exact_solution import cheapest_of
from hwsearch.study.goal import MILLISECONDS, Unit
from hwsearch.study.records.record import NotKeptError
from hwsearch.study.records.study import Study, ended, finished
from hwsearch.study.samplers.additive.cost import AdditiveCost
from hwsearch.study.samplers.additive.fitted_study import LossModel
from hwsearch.study.samplers.additive.loss_model.prior_mean import PriorLosses
from hwsearch.study.samplers.additive.proposer import LEAST
from hwsearch.study.sensitivities import Sensitivities
from hwsearch.study.storage.databases import rows_of

#: Standard deviations that a prediction must lie below the best measured loss to be preferred.
CAUTION = 1.0


@dataclass(frozen=True)
class Resolved:
    """The best plan known for a target.

    Attributes:
        target_ms: the target.
        plan: the plan.
        generation_ms: its predicted time.
        generation_joules: its predicted energy; None where the device's power is unknown.
        size_bytes: bytes of its weights.
        loss: its loss: measured if `trial` is a number, or else predicted by the additive model.
        spread: standard deviation of a predicted loss; 0 for a measured one.
        trial: the finished trial that tried the plan, or None.
        uniform_loss: least measured loss of a uniform plan within the target; None if there is none.
    """

    target_ms: float
    plan: CompressionPlan
    generation_ms: float
    generation_joules: float | None
    size_bytes: int
    loss: float
    spread: float
    trial: int | None
    uniform_loss: float | None

    @property
    def loss_is(self) -> str:
        """``evaluated`` or ``predicted``."""
        return "predicted" if self.trial is None else "evaluated"


def resolve(
    study: Study, target_ms: float | None = None, *, target_joules: float | None = None
) -> Resolved:
    """The plan of least loss within another target, from the finished trials alone.

    A plan that was never tried is preferred only if the additive model predicts it a standard
    deviation below the best measured plan; so the answer is never worse than a uniform plan tried.

    Args:
        study: the study.
        target_ms: most milliseconds of a generation; or else
        target_joules: most joules, whichever of both the study was searched for.

    Raises:
        InputError: not exactly one target is given, it is not positive, or joules are asked for and
            the power of the study's device is unknown.
        StudyError: the study keeps no costs, or has too few trials.
        InfeasibleTargetError: no plan of the space meets the target.
    """
    unit, target_ms = _target(study, target_ms, target_joules)
    totals = Totals.of(study)
    totals.check(target_ms, study, unit)
    most_ms = min(target_ms, study.max_ms)
    rows, max_bytes = study.rows(), study.max_bytes
    within = [row for row in rows if row.generation_ms <= most_ms and row.size_bytes <= max_bytes]
    tried = sorted(within, key=lambda row: (row.loss, row.generation_ms))
    best_uniform = next((row.loss for row in tried if row.uniform), None)
    guess = predicted_best(study, totals, most_ms)
    if tried and (guess is None or guess[1] + CAUTION * guess[2] >= tried[0].loss):
        best = tried[0]
        return Resolved(
            target_ms, best.plan, best.generation_ms, _joules(study, best.generation_ms),
            best.size_bytes, best.loss, 0.0, best.number, best_uniform,
        )  # fmt: skip
    if guess is None:
        raise StudyError(
            f"study {study.name} has {len(rows)} finished trials, none within "
            f"{unit.show(most_ms)}, "
            f"and {LEAST} are needed to predict others; run more trials"
        )
    params, loss, spread = guess
    return Resolved(
        target_ms, study.space.plan(params), totals.ms(params),
        _joules(study, totals.ms(params)), int(totals.bytes(params)),
        loss, spread, None, best_uniform,
    )  # fmt: skip


def _target(
    study: Study, target_ms: float | None, target_joules: float | None
) -> tuple[Unit, float]:
    """What the target is told in, and its milliseconds."""
    given = [value for value in (target_ms, target_joules) if value is not None]
    if len(given) != 1:
        raise InputError("give exactly one of target_ms and target_joules")
    if not given[0] > 0:
        raise InputError(f"a target must be larger than 0; got {given[0]}")
    if target_ms is not None:
        return MILLISECONDS, target_ms
    if study.energy is None:
        raise InputError(
            f"study {study.name} knows no power of its device "
            f"{study.record.device}, so it cannot answer joules; give "
            f"target_ms, or search on a device with [power] in its device.toml"
        )
    return study.energy, study.energy.to_ms(given[0])


def _joules(study: Study, ms: float) -> float | None:
    return None if study.energy is None else study.energy.of(ms)


@dataclass(frozen=True)
class Totals:
    """Milliseconds and bytes of plans, exactly.

    Attributes:
        times: milliseconds.
        sizes: bytes of the weights.
    """

    times: CostTables
    sizes: CostTables

    @classmethod
    def of(cls, study: Study) -> Totals:
        """Those of a study. Raises `StudyError` if it does not keep them, or hwsearch cannot have."""
        with rows_of(study.name):
            found = cls._kept(study)
            found.times.check(study.space)
            found.sizes.check(study.space)
        return found

    @classmethod
    def _kept(cls, study: Study) -> Totals:
        kept = study.record
        try:
            first_ms, first_bytes = kept.kept("first_ms"), kept.kept("first_bytes")
            costs, sizes = kept.kept("costs"), kept.kept("sizes")
        except NotKeptError as error:
            raise StudyError(
                f"study {study.name} does not keep its {error.name}: "
                "run hwsearch search on it once more"
            ) from error
        if kept.cost_terms is not None and kept.size_terms is not None:
            times = CostTables.read(first_ms, kept.cost_terms)
            return cls(times, CostTables.read(first_bytes, kept.size_terms))
        return cls(CostTables.additive(first_ms, costs), CostTables.additive(first_bytes, sizes))

    def ms(self, params: dict[str, int]) -> float:
        """Milliseconds of a plan."""
        return self.times.of(params)

    def bytes(self, params: dict[str, int]) -> float:
        """Bytes of a plan's weights."""
        return self.sizes.of(params)

    def check(self, target_ms: float, study: Study, unit: Unit = MILLISECONDS) -> None:
        """Raise `InfeasibleTargetError` if no plan meets the target."""
        room = None if np.isinf(study.max_bytes) else study.max_bytes - self.sizes.first
        fastest = cheapest_of(self.times, self.sizes, room)
        assert fastest is not None, "the search checked that the limit of bytes can be met"
        least_ms = self.ms(fastest)
        if least_ms <= target_ms:
            return
        by_group: dict[str, float] = {}
        for name, choice in fastest.items():
            group = name.rpartition(".")[0] or name
            costs = self.times.by_choice[name]
            by_group[group] = by_group.get(group, 0.0) + max(costs.values()) - costs[choice]
        saved = sorted(by_group.items(), key=lambda item: item[1])
        binding = ", ".join(f"{group} saves {unit.show(ms)}" for group, ms in saved[:3])
        raise InfeasibleTargetError(
            f"no plan meets {unit.show(target_ms)}: the fastest takes {unit.show(least_ms)} with "
            f"every choice at its fastest; what binds: {binding}; raise the target"
        )


def _prior(study: Study) -> PriorLosses | None:
    """What formats were estimated to cost before the study's first trial, if it keeps that."""
    kept = study.record.sensitivities
    with rows_of(study.name):
        return None if kept is None else Sensitivities.model_validate(kept).prior(study.space)


def predicted_best(
    study: Study, totals: Totals, most_ms: float
) -> tuple[dict[str, int], float, float] | None:
    """Parameters, predicted loss and spread of the best plan by the model; None with few trials."""
    if len(finished(study.optuna)) < LEAST:
        return None
    model = LossModel(
        study.space.distributions(),
        AdditiveCost.of_tables(totals.times),
        kinds=study.space.kinds(),
        trials=ended(study.optuna),
        directions=tuple(study.optuna.directions),
        prior=_prior(study),
    )
    limit = None
    if np.isfinite(study.max_bytes):
        limit = AdditiveCost.of_tables(totals.sizes), study.max_bytes - totals.sizes.first
    found = model.best(most_ms - totals.times.first, limit)
    if found is None:
        return None
    params, loss, spread = found
    return {**dict.fromkeys(study.space.parameters(), 0), **params}, loss, spread
