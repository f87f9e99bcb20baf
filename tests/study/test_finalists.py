"""The best plans, asked real problems."""

import dataclasses

import pytest

from hwsearch.jobs.demo.contest import pick
from hwsearch.study import Goal, finalists, load_study
from hwsearch.study.finalists import Finalist, Verdict, judge_finalists, solved
from hwsearch.study.run import run_study
from tests.study.test_run import make_objective


def finalist(number, loss, marks):
    return Finalist(number, loss, 10.0, tuple(mark == "1" for mark in marks))


LUCKY = finalist(0, 0.1, "1" * 31 + "0" * 69)
ACCURATE = finalist(1, 0.2, "1" * 40 + "0" * 60)
TIED = finalist(2, 0.15, "1" * 38 + "0" * 62)


def test_the_winner_has_the_least_loss_of_those_that_problems_do_not_tell_apart():
    verdict = Verdict((LUCKY, TIED, ACCURATE))
    assert verdict.leader == ACCURATE
    assert not verdict.is_tied(LUCKY) and verdict.is_tied(TIED)
    assert verdict.winner == TIED
    assert verdict.behind(LUCKY).difference == pytest.approx(0.09)
    assert Verdict.of(verdict.document()) == verdict


def test_equal_plans_are_ranked_by_loss_then_time():
    slow = dataclasses.replace(TIED, number=3, generation_ms=11.0)
    assert Verdict((slow, TIED)).winner == TIED
    assert Verdict((TIED,)).winner == TIED


@pytest.fixture
def study(objective, tmp_path):
    return run_study(objective, trials=16, name="s", storage=str(tmp_path / "s.db"))


@pytest.fixture(scope="module")
def objective():
    return make_objective(Goal(target_ratio=0.6))


def test_finalists_are_the_plans_of_least_loss_and_are_kept(objective, study):
    counts = []
    verdict = judge_finalists(study, objective, 3, 5, counts.append)
    best = study.feasible().head(3)
    assert [f.number for f in verdict.finalists] == best["number"].tolist()
    assert [f.loss for f in verdict.finalists] == best["loss"].tolist()
    assert sum(counts) == 15
    kept = load_study("s", str(study.optuna._storage._backend.url))
    assert kept.finalists["winner"] == verdict.winner.number
    assert Verdict.of(kept.finalists) == verdict


def test_a_winner_is_the_best_plan_until_the_study_goes_on(objective, study, monkeypatch):
    rows = study.feasible().head(3)
    good = rows["plan"].iloc[2]
    marks = {True: (True,) * 12, False: (False,) * 12}
    monkeypatch.setattr(finalists, "solved", lambda _, plan, *__: marks[plan == good])
    judge_finalists(study, objective, 3, 12)
    assert study.best_plan == good == pick(study, study.target_ms)["plan"]
    fastest = study.feasible()["generation_ms"].min()
    assert pick(study, fastest)["plan"] != good or rows["generation_ms"].iloc[2] == fastest
    storage = study.optuna._storage._backend.url
    further = run_study(objective, trials=20, name="s", storage=str(storage))
    assert further.finalists is None
    assert further.best_plan == further.feasible()["plan"].iloc[0]


def test_what_was_asked_is_not_asked_again(objective, study, monkeypatch):
    asked = []

    def watched(objective, plan, *rest):
        asked.append(plan)
        return solved(objective, plan, *rest)

    monkeypatch.setattr(finalists, "solved", watched)
    first = judge_finalists(study, objective, 2, 4)
    again = judge_finalists(study, objective, 4, 4)
    assert len(asked) == len(set(asked)) == 4
    assert again.finalists[:2] == first.finalists
    judge_finalists(study, objective, 1, 6)
    assert len(asked) == 5, "other problems are asked anew"


def test_no_plan_within_the_target_gives_no_verdict(objective, study):
    missed = dataclasses.replace(study, target_ms=1e-6)
    assert judge_finalists(missed, objective, 2, 3) is None
    assert missed.finalists is None
