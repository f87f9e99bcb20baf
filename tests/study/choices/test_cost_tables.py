"""Sums of tables, and a sampler that holds its proposals against them."""

import itertools

import numpy as np
import optuna
import pytest

from hwsearch.study.choices.cost_tables import CostTable, CostTables
from hwsearch.study.choices.exact_solution import cheapest_of
from hwsearch.study.samplers.additive import AdditiveSampler
from hwsearch.study.samplers.additive.acquisition import CostModel
from hwsearch.study.samplers.additive.cost import AdditiveCost
from hwsearch.study.samplers.additive.encoding import ChoiceSpace


def scaled(layers, choices=3, scales=3, seed=0):
    """Layers whose costs a shared scale multiplies, each with a size that acts on it, too."""
    rng = np.random.default_rng(seed)
    factor = np.linspace(1.0, 0.4, scales)
    found = [CostTable(("cache.scale",), np.zeros(scales))]
    for index in range(layers):
        costs = np.sort(rng.random(choices))[::-1]
        joint = costs[:, None, None] * np.array([1.0, 0.5])[:, None] * factor
        names = (f"layer{index}.kept", f"layer{index}.size", "cache.scale")
        found.append(CostTable(names, joint - joint[0, 0, 0]))
    return CostTables(float(layers), tuple(found))


def distributions(terms):
    return {
        name: optuna.distributions.IntDistribution(0, len(values) - 1)
        for name, values in terms.by_choice.items()
    }


def plans(terms):
    names = list(terms.by_choice)
    for row in itertools.product(*(range(len(terms.by_choice[name])) for name in names)):
        yield dict(zip(names, row, strict=True))


def test_the_table_is_the_mean_over_all_plans():
    terms = scaled(2)
    every = [(params, terms.of(params)) for params in plans(terms)]
    for name, values in terms.by_choice.items():
        means = [np.mean([v for p, v in every if p[name] == choice]) for choice in values]
        assert [m - means[0] for m in means] == pytest.approx(list(values.values()))
    mean = np.mean([v for _, v in every])
    added = sum(np.mean(list(values.values())) for values in terms.by_choice.values())
    assert terms.first + terms.constant + added == pytest.approx(mean)


def test_tables_are_read_back_and_additive_ones_are_known_as_such():
    terms = scaled(2)
    again = CostTables.read(terms.first, terms.document())
    assert all(again.of(params) == terms.of(params) for params in plans(terms))
    plain = CostTables.additive(3.0, {"a": {0: 0.0, 1: -1.0}, "b": {0: 0.0, 1: -0.5}})
    assert plain.is_additive and not terms.is_additive
    assert plain.by_choice == {"a": {0: 0.0, 1: -1.0}, "b": {0: 0.0, 1: -0.5}}
    assert (plain.constant, plain.of({"a": 1, "b": 1})) == (0.0, 1.5)


def test_the_cheapest_plan_is_found_among_joint_choices():
    rng = np.random.default_rng(3)
    for seed in range(5):
        # tables without any order, so that no choice is the cheapest by itself
        cost, weight = (
            CostTables(
                0.0,
                tuple(
                    CostTable(t.names, rng.normal(size=t.values.shape)) for t in scaled(2).tables
                ),
            )
            for _ in range(2)
        )
        every = list(plans(cost))
        room = float(np.quantile([weight.of(p) for p in every], 0.1 + 0.05 * seed))
        found = cheapest_of(cost, weight, room)
        best = min(cost.of(p) for p in every if weight.of(p) <= room)
        assert weight.of(found) <= room + 1e-9
        assert cost.of(found) == pytest.approx(best)
    assert cheapest_of(cost, weight, -1e3) is None


def test_a_cost_model_is_exact_for_a_plan_and_its_single_swaps():
    terms = scaled(3)
    space = ChoiceSpace.of(distributions(terms), {}, 32)
    model = CostModel.known(space, AdditiveCost.of_tables(terms))
    rows = space.enumerate()
    exact = np.array([terms.of(space.decode(row)) - terms.first for row in rows])
    assert model.of(rows) == pytest.approx(exact)
    plan = rows[len(rows) // 3]
    near = model.at(plan)
    swaps = (rows != plan).sum(axis=1) <= 1
    assert near.of(rows[swaps]) == pytest.approx(exact[swaps])
    assert np.abs(near.of(rows) - exact).max() > 0.01


@pytest.mark.parametrize(("layers", "trials"), [(3, 40), (8, 70)])
def test_proposals_keep_a_budget_that_no_sum_over_choices_knows(layers, trials):
    terms = scaled(layers)
    budget = -0.45 * sum(float(-t.values.min()) for t in terms.tables)
    worth = {name: 0.3 + 0.7 * index / layers for index, name in enumerate(sorted(terms.by_choice))}
    worth["cache.scale"] = 0.8 * layers

    def loss(params):
        return sum(worth[name] * choice**1.3 for name, choice in params.items())

    study = optuna.create_study(
        sampler=AdditiveSampler(
            AdditiveCost.of_tables(terms),
            budget,
            "ms",
            seed=0,
            search_space=distributions(terms),
        )
    )
    over = []
    for _ in range(trials):
        trial = study.ask(distributions(terms))
        over.append(terms.of(trial.params) - terms.first - budget)
        trial.set_constraint("ms", over[-1])
        study.tell(trial, loss(trial.params))
    if layers == 3:
        best = min(loss(p) for p in plans(terms) if terms.of(p) - terms.first <= budget)
        assert study.best_value == pytest.approx(best)
    else:
        # a large space. Plans that are laid out change one choice, or all as far as they go; those
        # that the model leads to keep the budget, every one, and use it up while there is much to gain
        few, many = 2, len(terms.by_choice) - 1
        changed = [sum(choice > 0 for choice in t.params.values()) for t in study.trials]
        led = np.array([v for v, n in zip(over, changed, strict=True) if few <= n <= many])
        assert len(led) > 40
        assert (led <= 1e-9).all()
        assert np.median(led[:10]) > -0.05 * abs(budget)
        # no worse than very many random plans
        rng = np.random.default_rng(0)
        space = ChoiceSpace.of(distributions(terms), {}, 32)
        rows = rng.integers(space.sizes, size=(20_000, len(space.names)))
        fits = terms.added(space.names, rows) <= budget
        assert study.best_value <= min(loss(space.decode(row)) for row in rows[fits])
