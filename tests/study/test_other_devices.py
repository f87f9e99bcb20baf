"""The best plan of a finished study for a device that it was not searched on."""

import pytest

from hwsearch.errors import InputError
from hwsearch.plan import LINEAR_GROUPS
from hwsearch.study import Goal, load_study
from hwsearch.study.other_devices import Runnable, best_elsewhere
from hwsearch.study.run import run_study
from tests.study.test_run import make_objective

#: What a device takes for a product in a format; it has no ``w8a8``.
ELSEWHERE = {"fp32": 4.0, "w8": 1.0, "w4": 3.0}


def price(plan):
    """Milliseconds on that device: positions that are kept count as well."""
    formats = [layer.format_of(group) for layer in plan.layers for group in LINEAR_GROUPS]
    kept = sum(layer.sink_threshold for layer in plan.layers)
    try:
        return kept + sum(ELSEWHERE[fmt] for fmt in (*formats, plan.head))
    except KeyError as error:
        raise InputError(f"no {error.args[0]} here") from error


@pytest.fixture(scope="module")
def objective():
    return make_objective(Goal(target_ratio=0.6))


@pytest.fixture(scope="module")
def study(objective, tmp_path_factory):
    storage = str(tmp_path_factory.mktemp("study") / "s.db")
    run_study(objective, trials=30, name="s", storage=storage)
    return load_study("s", storage)


@pytest.mark.parametrize("share", [0.45, 0.7, 0.9])
def test_the_plan_runs_there_within_the_target_and_was_not_tried(objective, study, share):
    most = share * price(objective.first)
    found = best_elsewhere(study, price, most)
    assert found is not None
    assert price(found.plan) <= most, "and has no format that the device lacks"
    assert found.plan not in set(study.frame()["plan"])
    largest = study.frame()["loss"].max()
    assert found.loss == pytest.approx(objective.loss(found.plan), abs=0.1 * largest)


def test_it_loses_less_than_what_the_trials_have_there(objective, study):
    most = 0.6 * price(objective.first)
    tried = [plan for plan in study.frame()["plan"] if runs_within(plan, most)]
    found = best_elsewhere(study, price, most)
    assert found is not None
    least = min((objective.loss(plan) for plan in tried), default=float("inf"))
    assert objective.loss(found.plan) <= least + 3 * found.spread


def runs_within(plan, most):
    try:
        return price(plan) <= most
    except InputError:
        return False


def test_where_no_plan_is_within_the_target_there_is_none(study):
    assert best_elsewhere(study, price, 0.01) is None


def test_a_device_that_runs_nothing_says_why(study):
    def nothing(plan):
        raise InputError("no table here")

    with pytest.raises(InputError, match="no table here"):
        best_elsewhere(study, nothing, 1.0)


def test_choices_that_cannot_run_cost_more_than_any_that_can(study):
    runnable = Runnable.on(study.space, price)
    formats = study.space.formats
    missing = [place for place, fmt in enumerate(formats) if fmt.value not in ELSEWHERE]
    assert missing, "the study offers a format that the device lacks"
    assert not set(missing) & set(runnable.choices["head"])
    params = dict.fromkeys(study.space.parameters(), 0)
    one, two = {"head": missing[0]}, {"layer0.attention": missing[0], "head": missing[0]}
    costs = [runnable.price(study.space.plan({**params, **also})) for also in ({}, one, two)]
    assert costs[0] == price(study.space.plan(params))
    assert costs[2] - costs[1] == pytest.approx(costs[1] - costs[0]) == runnable.penalty
