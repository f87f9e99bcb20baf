"""Costs that are expected only are moved to what trials were seen to cost."""

import numpy as np
import optuna
import pytest
from optuna.distributions import IntDistribution

from hwsearch.study.choices.cost_tables import CostTable, CostTables
from hwsearch.study.samplers.additive import AdditiveSampler
from hwsearch.study.samplers.additive.acquisition import CostModel
from hwsearch.study.samplers.additive.cost import AdditiveCost
from hwsearch.study.samplers.additive.encoding import ChoiceSpace

DISTRIBUTIONS = {"decoding": IntDistribution(0, 2), "layer": IntDistribution(0, 1)}
JOINT = CostTables(
    100.0,
    (
        CostTable(("decoding",), np.array([0.0, -50.0, -80.0])),
        CostTable(("decoding", "layer"), np.array([[0.0, -20.0], [0.0, -10.0], [0.0, -4.0]])),
    ),
)


def model(expected="decoding"):
    space = ChoiceSpace.of(DISTRIBUTIONS, {}, 32)
    return CostModel.known(space, AdditiveCost.of_tables(JOINT, expected))


ROWS = np.array([[0, 0], [1, 0], [1, 1], [2, 1]])


def test_each_choice_is_moved_by_what_its_trials_cost_beyond_the_model():
    known = model()
    totals = known.first + known.of(ROWS) + np.array([0.0, 6.0, 3.0, np.nan])
    moved = known.corrected(ROWS, totals).of(ROWS) - known.of(ROWS)
    # two trials of the second choice cost 9 ms more together, and one more agreed
    assert moved == pytest.approx([0.0, 3.0, 3.0, 0.0])
    assert model(None).corrected(ROWS, totals).of(ROWS) == pytest.approx(known.of(ROWS))
    assert known.corrected(ROWS[:0], totals[:0]).of(ROWS) == pytest.approx(known.of(ROWS))


def test_a_search_learns_that_a_decoding_takes_longer_than_expected():
    """The budget admits the second decoding as expected, and not as it is."""
    layers = [f"layer{i}" for i in range(4)]
    distributions = {"decoding": IntDistribution(0, 2)} | {
        name: IntDistribution(0, 2) for name in layers
    }
    tables = CostTables(
        100.0,
        (
            CostTable(("decoding",), np.array([0.0, -50.0, -60.0])),
            *(CostTable((name,), np.array([0.0, -2.0, -4.0])) for name in layers),
        ),
    )
    sampler = AdditiveSampler(
        AdditiveCost.of_tables(tables, "decoding"),
        -52.0,
        "generation_ms",
        0,
        search_space=distributions,
    )
    late = []

    def objective(trial):
        params = {name: trial.suggest_int(name, 0, 2) for name in distributions}
        ms = tables.of(params) + 5.0 * (params["decoding"] == 1)
        trial.set_user_attr("generation_ms", ms)
        trial.set_constraint("generation_ms", ms - 48.0)
        late.append((params["decoding"], ms > 48.0))
        return params["decoding"] + 0.1 * sum(params[name] for name in layers)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=40)
    assert study.best_trial.params["decoding"] == 1
    missed = [over for decoding, over in late[20:] if decoding == 1]
    assert not missed or np.mean(missed) < 0.5
