"""Searches over decodings of which one foresees passes."""

import pytest

from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.forecasts import ForecastFitter
from hwsearch.errors import PlanError
from hwsearch.plan import CompressionPlan
from hwsearch.study import Goal, SearchSpace, prepare
from hwsearch.study.run import run_study
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser
from tests.study.test_run import QUESTIONS, WORK

FORECAST = {
    "method": "low-rank", "rank": 4, "threshold": 0.02, "bins": 1,
    "least_agreement": 0.0, "least_r2": -100.0,
}  # fmt: skip


def space_of(denoiser, **rest):
    policy = {"commit": {"policy": "threshold", "threshold": 0.5}}
    decodings = (
        denoiser.decoding.changed(policy),
        denoiser.decoding.changed(policy | {"forecast": FORECAST}),
    )
    return SearchSpace(num_layers=2, thresholds=(1.0,), decodings=(None, *decodings), **rest)


@pytest.fixture(scope="module")
def objective():
    denoiser = tiny_denoiser()
    device = formula_device(denoiser.geometry, WORK)
    questions = [*QUESTIONS, *(f"tom has {n} apples ?" for n in range(9))]
    return prepare(denoiser, space_of(denoiser), device, WORK, Goal(target_ratio=0.9), questions)


def plans(objective, fmt="w8"):
    plain, foreseen = objective.space.decodings[1:]
    plan = CompressionPlan.uniform(2, fmt, fmt)
    return [plan.model_copy(update={"decoding": one}) for one in (plain, foreseen)]


def test_a_plan_that_foresees_takes_fewer_passes_and_less_time(objective):
    plain, foreseen = plans(objective)
    assert objective.passes(foreseen).total < objective.passes(plain).total
    assert objective.latency(foreseen).generation_ms < objective.latency(plain).generation_ms
    assert objective.expected_latency(foreseen).generation_ms < (
        objective.expected_latency(plain).generation_ms
    )


def test_what_it_costs_is_in_the_loss(objective):
    plain, foreseen = plans(objective)
    kl = objective.loss_function.loss(*objective.workbench.network(foreseen))
    assert objective.loss(foreseen) == pytest.approx(kl + objective.price(foreseen))
    assert objective.price(foreseen) > objective.price(plain)


def test_a_plan_is_fitted_once(objective):
    _, foreseen = plans(objective, "w4")
    first, again = (objective.workbench.compress(foreseen).network.forecast for _ in range(2))
    assert first is again
    _, other = plans(objective, "w8a8")
    assert objective.workbench.compress(other).network.forecast is not first


def test_a_search_tries_it(objective, tmp_path):
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    study = run_study(objective, trials=12, seed=0, storage=storage)
    chosen = [trial for trial in study.optuna.trials if trial.params["decoding"] == 2]
    assert chosen and all(trial.value is not None for trial in chosen)


def test_a_model_without_questions_is_refused():
    denoiser = tiny_denoiser()
    decoding = space_of(denoiser).decodings[2]
    with pytest.raises(PlanError, match="no questions to fit a forecast on"):
        ForecastFitter(denoiser, ()).foreseeing(
            denoiser.network, KeptShares.keeping_all(2), decoding
        )
