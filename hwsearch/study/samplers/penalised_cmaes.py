"""CMA-ES under constraints, which Optuna's knows nothing of."""

from __future__ import annotations

import copy

from optuna.samplers import CmaEsSampler
from optuna.study import Study
from optuna.trial import FrozenTrial


class PenalisedCmaEs(CmaEsSampler):
    """`optuna.samplers.CmaEsSampler` that ranks every feasible plan before every other.

    Among the others, the one that breaks its constraints least comes first (Deb 2000, "An
    efficient constraint handling method for genetic algorithms", section 3).
    """

    def _get_trials(self, study: Study) -> list[FrozenTrial]:
        trials = super()._get_trials(study)
        worst = max((t.value for t in trials if t.value is not None), default=0.0)
        return [_ranked(trial, worst) for trial in trials]


def _ranked(trial: FrozenTrial, worst: float) -> FrozenTrial:
    excess = sum(max(value, 0.0) for value in trial.constraints.values())
    if excess == 0.0:
        return trial
    trial = copy.copy(trial)
    trial.value = worst + excess
    return trial
