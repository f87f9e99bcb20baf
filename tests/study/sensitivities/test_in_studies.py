"""Estimates that a search makes when it starts, keeps, and begins from."""

import dataclasses

import pytest

import hwsearch.study.run as running
from hwsearch.denoisers.caching.folder import CACHE_VARIABLE
from hwsearch.study import Goal, load_study
from hwsearch.study.run import run_study
from hwsearch.study.samplers.additive.acquisition import CostModel
from hwsearch.study.samplers.additive.cost import AdditiveCost
from hwsearch.study.samplers.additive.encoding import ChoiceSpace
from hwsearch.study.samplers.additive.first_plans import expected_plans
from hwsearch.study.samplers.additive.loss_model.prior_mean import PriorMean
from hwsearch.study.sensitivities import Sensitivities
from tests.study.test_run import make_objective


@pytest.fixture(scope="module")
def objective():
    return make_objective(Goal(target_ratio=0.6))


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """How often estimates were made, none of them before."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    made, old = [], running.measure_sensitivities

    def measure(*arguments, **options):
        made.append(old(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(running, "measure_sensitivities", measure)
    return made


def test_a_study_keeps_them_and_is_continued_with_them(objective, counted, tmp_path):
    options = {"name": "s", "storage": str(tmp_path / "s.db")}
    first = run_study(objective, trials=9, **options)
    kept = Sensitivities.model_validate(first.record.sensitivities)
    assert len(counted) == 1 and kept == counted[0] and kept.passes > 0
    assert kept.covers(objective.space) and all(kept.thresholds)
    run_study(objective, trials=14, **options)
    assert len(counted) == 1, "a study that goes on reads them"
    assert load_study("s", options["storage"]).record.sensitivities == first.record.sensitivities


def test_the_first_plan_of_a_sampler_is_best_by_them(objective, counted, tmp_path):
    study = run_study(objective, trials=20, name="s", storage=str(tmp_path / "s.db"))
    space, known = objective.space, objective.known()
    choices = ChoiceSpace.of(known.distributions, known.reference, 32, known.kinds)
    cost = CostModel.known(choices, AdditiveCost.of_tables(known.costs))
    prior = PriorMean.of(choices, counted[0].prior(space))
    (best, *_) = expected_plans(choices, cost, known.budget_ms, prior)
    trials = study.optuna.get_trials()
    begun = [t.params for t in trials if "fixed_params" not in t.system_attrs]
    assert begun[0] == choices.decode(best)
    assert objective.latency(space.plan(begun[0])).generation_ms <= objective.target_ms


@pytest.mark.parametrize(
    "options", [{"sensitivities": False}, {"sampler": "random"}, {"sampler": "tpe"}]
)
def test_none_are_made_where_nobody_asks(objective, counted, tmp_path, options):
    study = run_study(objective, trials=5, name="s", storage=str(tmp_path / "s.db"), **options)
    assert counted == [] and study.record.sensitivities is None


def test_a_loss_that_cannot_tell_is_searched_without(objective, counted, tmp_path):
    class Plain:
        """A loss of one's own, of which only the value is known."""

        name, cost = "plain", 1.0

        def loss(self, network, kept):
            return objective.loss_function.loss(network, kept)

    other = dataclasses.replace(objective, loss_function=Plain())
    study = run_study(other, trials=5, name="s", storage=str(tmp_path / "s.db"))
    assert counted == [] and len(study.frame()) >= 5


def test_finer_groups_go_on_with_those_of_the_coarse_study(objective, counted, tmp_path):
    storage = str(tmp_path / "s.db")
    space = objective.space.model_copy(update={"groups": "tied"})
    coarse = run_study(
        dataclasses.replace(objective, space=space), trials=8, name="c", storage=storage
    )
    fine = run_study(objective, trials=12, name="f", storage=storage, refine=coarse)
    assert len(counted) == 1
    assert fine.record.sensitivities == coarse.record.sensitivities is not None
