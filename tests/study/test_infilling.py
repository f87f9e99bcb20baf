"""Searches on problems with a text behind the blank: priced with it, and known by it."""

import json
from dataclasses import replace

import pytest

from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.denoisers.chat.asking import Infilling
from hwsearch.errors import InputError
from hwsearch.latency.operators import Workload, refresh_operators
from hwsearch.plan import CompressionPlan
from hwsearch.study import Goal, SearchSpace, load_study, prepare
from hwsearch.study.preparation import reopen
from hwsearch.study.records.identity import identity
from hwsearch.study.searching import search
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser
from tests.study.test_decodings import space_of
from tests.study.test_run import QUESTIONS, WORK

BLANKS = [Infilling(question, "more now ?") for question in QUESTIONS]
BEHIND = replace(WORK, suffix_length=3)


def made(questions, work):
    denoiser = tiny_denoiser()
    device = formula_device(denoiser.geometry, work)
    return prepare(denoiser, space_of(denoiser), device, work, Goal(target_ratio=1.0), questions)


@pytest.fixture(scope="module")
def objective():
    return made(BLANKS, BEHIND)


def test_a_workload_says_its_suffix_only_where_it_has_one(objective):
    assert json.loads(identity(objective)["workload"]) == {"prompt_length": 9, "suffix_length": 3}
    assert identity(made(QUESTIONS, WORK))["workload"] == '{"prompt_length": 9}'


def test_every_plan_is_timed_with_the_suffix(objective):
    """A decoding whose passes are counted has the suffix's rows, too."""
    assert objective.predictor.workload.length == 9 + 8 + 3
    plan = objective.workbench.keep(CompressionPlan.uniform(2))
    rows = {key.rows for key in refresh_operators(objective.denoiser.geometry, plan, BEHIND)}
    assert max(rows) == 20
    counted = PassCounts.scheduled(WORK.decoding)
    assert objective.predictor.given(counted).workload == replace(BEHIND, counted=counted)
    plain = made(QUESTIONS, WORK)
    for decoding in objective.space.decodings:
        plan = CompressionPlan.uniform(2).model_copy(update={"decoding": decoding})
        assert objective.latency(plan).refresh_ms > plain.latency(plan).refresh_ms


def test_a_study_of_blanks_is_reopened_and_told_from_others(tmp_path):
    denoiser, storage = tiny_denoiser(), str(tmp_path / "s.db")
    device = formula_device(denoiser.geometry, BEHIND)
    space = SearchSpace(num_layers=2, thresholds=(1.0, 0.5), formats=("fp32", "w4"), groups="tied")
    settings = {"target_ratio": 1.0, "prompt_length": 9, "name": "s", "storage": storage}
    study = search(denoiser, space, device, questions=BLANKS, trials=4, **settings)
    assert study.record.suffix_length == 3 and study.record.prompt_length == 9
    known = load_study("s", storage)
    again = reopen(known, denoiser, device, BLANKS)
    assert again.predictor.workload == Workload(9, denoiser.decoding, suffix_length=3)
    best = study.feasible().iloc[0]
    assert again.latency(best["plan"]).generation_ms == pytest.approx(best["generation_ms"])
    with pytest.raises(InputError, match="the calibration questions"):
        reopen(known, denoiser, device, QUESTIONS)
    with pytest.raises(InputError, match="the calibration questions"):
        search(denoiser, space, device, questions=QUESTIONS, trials=4, **settings)
