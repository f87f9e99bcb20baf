"""The loss model of a finished study, asked for its best untried plan."""

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.study import StudyDirection

from hwsearch.study.samplers.additive.cost import AdditiveCost
from hwsearch.study.samplers.additive.fitted_study import LossModel

NAMES = ("a", "b", "c", "d")
CHOICES = {name: IntDistribution(0, 2) for name in NAMES}

#: Choice 1 saves, and choice 2 costs; nowhere is more than one saving tried.
TRIED = [
    (0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (2, 0, 0, 0), (0, 2, 0, 0),
    (0, 0, 2, 0), (0, 0, 0, 2), (2, 2, 0, 0), (1, 2, 0, 0), (0, 0, 1, 2), (2, 0, 1, 0),
]  # fmt: skip


def effects(plan):
    return 0.05 - 0.04 * plan.count(1) + 0.03 * plan.count(2)


def model_of(losses):
    study = optuna.create_study()
    for plan, loss in zip(TRIED, losses, strict=True):
        params = dict(zip(NAMES, plan, strict=True))
        trial = optuna.create_trial(params=params, distributions=CHOICES, values=[loss])
        study.add_trial(trial)
    return LossModel(
        CHOICES,
        AdditiveCost.of({name: dict.fromkeys(range(3), 0.0) for name in NAMES}),
        kinds=dict.fromkeys(NAMES, "format"),
        trials=study.trials,
        directions=(StudyDirection.MINIMIZE,),
    )


@pytest.mark.parametrize("least", [0.01, 0.0, -1e-9])
def test_no_loss_below_0_is_predicted_where_none_was_measured(least):
    losses = [effects(plan) for plan in TRIED]
    assert min(losses) == pytest.approx(0.01)
    losses[losses.index(min(losses))] = least
    plan, loss, spread = model_of(losses).best(1.0)
    assert plan == dict.fromkeys(NAMES, 1), "its effects add up to a loss of -0.11"
    assert loss == 0.0
    assert spread > 0


def test_losses_that_lie_below_0_are_predicted_to():
    plan, loss, _ = model_of([effects(plan) - 0.1 for plan in TRIED]).best(1.0)
    assert plan == dict.fromkeys(NAMES, 1)
    assert loss == pytest.approx(-0.21, abs=0.01)
