"""Searches that choose how text is decoded, too."""

import dataclasses
import sqlite3

import numpy as np
import optuna
import pytest

from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.decoding.passes import PassKind
from hwsearch.errors import PlanError, StudyError
from hwsearch.plan import CompressionPlan
from hwsearch.study import Goal, SearchSpace, prepare
from hwsearch.study.answering import Answering
from hwsearch.study.choices.decodings import offered_decodings
from hwsearch.study.choices.search_space import is_uniform
from hwsearch.study.loss_noise import noise_of
from hwsearch.study.preparation import fastest_plan
from hwsearch.study.records.study import load_study
from hwsearch.study.run import adopt, run_study
from hwsearch.study.settings import StudySpec
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser
from tests.study.test_run import QUESTIONS, WORK


def changed(denoiser, **changes):
    return denoiser.decoding.changed(changes)


def space_of(denoiser, **rest):
    threshold = {"policy": "threshold", "threshold": 0.02}
    decodings = (
        None,
        changed(denoiser, stop_at_end=True),
        changed(denoiser, commit=threshold, stop_at_end=True, window={"advance": True}),
    )
    return SearchSpace(num_layers=2, thresholds=(1.0, 0.5), decodings=decodings, **rest)


@pytest.fixture(scope="module")
def objective():
    denoiser = tiny_denoiser()
    device = formula_device(denoiser.geometry, WORK)
    return prepare(denoiser, space_of(denoiser), device, WORK, Goal(target_ratio=0.6), QUESTIONS)


def test_params_and_plans_are_inverse_with_decodings(objective):
    space = objective.space
    assert space.parameters()["decoding"] == space.decodings
    for decoding in space.decodings:
        plan = CompressionPlan.uniform(2, "w8", "w4", 0.5, head="w8a8").model_copy(
            update={"decoding": decoding}
        )
        assert space.plan(space.params(plan)) == plan
    elsewhere = changed(objective.denoiser, suffix_window=objective.denoiser.decoding.block_length)
    with pytest.raises(StudyError, match="decoding must be one of"):
        space.params(plan.model_copy(update={"decoding": elsewhere}))


def test_studies_without_decodings_read_as_they_did():
    assert "decodings" not in SearchSpace(num_layers=2).model_dump_json()
    space = space_of(tiny_denoiser())
    assert SearchSpace.model_validate_json(space.model_dump_json()) == space


def test_every_format_is_uniform_under_every_decoding(objective):
    plans = list(objective.space.uniform_plans())
    assert all(is_uniform(plan) for plan in plans)
    pairs = {(plan.head, plan.decoding) for plan in plans}
    assert len(pairs) == len(objective.space.formats) * len(objective.space.decodings)


def test_plans_are_varied_under_a_decoding_that_meets_the_target(objective):
    uniform = [plan for plan in objective.space.uniform_plans() if objective.meets(plan)]
    place = objective.known().reference["decoding"]
    places = [objective.space.decodings.index(plan.decoding) for plan in uniform]
    assert place == min(places)
    slow = objective.with_target_ms(1e-9)
    assert slow.known().reference == {"decoding": len(objective.space.decodings) - 1}
    easy = objective.with_target_ms(1e9)
    assert easy.known().reference == {"decoding": 0}


def test_times_are_exact_sums_of_tables_whatever_the_decoding(objective):
    space, rng = objective.space, np.random.default_rng(0)
    sizes = {name: len(choices) for name, choices in space.parameters().items()}
    for _ in range(40):
        params = {name: int(rng.integers(size)) for name, size in sizes.items()}
        expected = objective.expected_latency(space.plan(params)).generation_ms
        assert objective.times.of(params) == pytest.approx(expected, rel=1e-9)


def test_the_fastest_plan_is_the_fastest_of_all(objective):
    best = objective.expected_latency(fastest_plan(objective)).generation_ms
    rng = np.random.default_rng(1)
    space = objective.space
    for _ in range(60):
        params = {n: int(rng.integers(len(c))) for n, c in space.parameters().items()}
        assert objective.expected_latency(space.plan(params)).generation_ms >= best - 1e-9


def test_a_schedule_is_not_asked_and_costs_nothing(objective):
    plan = CompressionPlan.uniform(2, "w4", "w4")
    stopping = plan.model_copy(update={"decoding": objective.space.decodings[1]})
    assert objective.price(plan) == objective.price(stopping) == 0.0
    assert objective.loss(plan) == pytest.approx(objective.loss(stopping))
    whole, stopped = objective.latency(plan), objective.latency(stopping)
    assert sum(whole.passes.values()) == WORK.decoding.steps
    assert stopped.generation_ms <= whole.generation_ms


def test_a_text_cut_at_its_end_takes_the_passes_of_one_that_stops(objective):
    """What stops was written and cut: the same passes as if it had been decoded so."""
    answering, decoding = objective.answering, objective.space.decodings[1]
    found = answering.problems.decoded(
        objective.denoiser.network, objective.workbench.keep(objective.first).kept, decoding
    )
    assert answering.uncompressed(decoding) == answering.problems.passes(found)


def test_a_policy_is_counted_and_priced_by_the_plan_itself(objective):
    plan = CompressionPlan.uniform(2, "w4", "w4").model_copy(
        update={"decoding": objective.space.decodings[2]}
    )
    network, kept = objective.workbench.network(plan)
    found = objective.answering.problems.decoded(network, kept, plan.decoding)
    passes = objective.answering.problems.passes(found)
    assert objective.passes(plan) == passes
    assert objective.latency(plan).passes == passes.by_kind
    assert passes.by_kind[PassKind.ADVANCE] > 0
    assert objective.price(plan) == max(0.0, objective.answering.price.price(found))
    kl = objective.loss_function.loss(network, kept)
    assert objective.loss(plan) == pytest.approx(kl + objective.price(plan))
    *_, last = objective.by_state(plan)
    assert last.so_far == pytest.approx(objective.loss(plan))


def test_rounding_moves_a_loss_with_its_price(objective):
    plan = CompressionPlan.uniform(2, "w8", "w8").model_copy(
        update={"decoding": objective.space.decodings[2]}
    )
    found = noise_of(objective, plan, objective.loss(plan))
    assert 0.0 <= found < 0.5 * objective.loss(plan) + 1e-3


class Cheaper:
    """A price that finds a plan's texts better than the uncompressed model's."""

    name, cost = "cheaper", 0.0

    def price(self, decoded):
        return -0.25


def test_no_plan_earns_by_its_decoding(objective):
    answering = Answering(objective.answering.problems, Cheaper())
    plan = CompressionPlan.uniform(2, "w8", "w8")
    found = answering.ask(*objective.workbench.network(plan), objective.space.decodings[2])
    assert found.price == 0.0


@pytest.fixture(scope="module")
def study(objective, tmp_path_factory):
    storage = str(tmp_path_factory.mktemp("study") / "s.db")
    return run_study(objective, trials=24, name="tiny", storage=storage)


def test_the_winner_is_never_worse_than_a_uniform_plan_under_any_decoding(objective, study):
    frame = study.frame()
    tried = set(frame["plan"])
    meeting = [plan for plan in objective.space.uniform_plans() if objective.meets(plan)]
    assert {plan.decoding for plan in meeting} - {None}
    assert set(meeting) <= tried
    best = study.feasible().iloc[0]
    assert best["loss"] <= study.feasible(uniform=True)["loss"].min()


def test_a_study_keeps_the_passes_of_its_trials(objective, study):
    for number, passes in study.passes().items():
        plan = study.plan(number)
        assert passes == objective.passes(plan)
        row = study.frame().set_index("number").loc[number]
        assert row["passes"] == pytest.approx(passes.total)
        assert row["generation_ms"] == pytest.approx(objective.latency(plan).generation_ms)


def test_decodings_are_offered_unless_a_model_has_full_passes_only():
    denoiser = tiny_denoiser()
    found = offered_decodings(denoiser)
    assert found[0] is None
    assert len(set(found)) == len(found)
    assert any(decoding is not None and decoding.window.advance for decoding in found)
    device = formula_device(denoiser.geometry, WORK)
    assert SearchSpace.of(denoiser, device).decodings == found


def test_a_rule_that_needs_refreshes_is_not_offered_with_blocks_without():
    denoiser = tiny_denoiser()
    device = formula_device(denoiser.geometry, WORK)
    space = space_of(denoiser, rules=("keep-stable", "mean-query"))
    with pytest.raises(StudyError, match=r"mean-query.*window\.advance") as error:
        space.check(device)
    assert len(str(error.value).splitlines()) == 1


def test_a_study_file_says_decodings_by_what_they_change(tmp_path):
    denoiser = tiny_denoiser()
    path = tmp_path / "s.toml"
    path.write_text(
        'model = "gsm-mini"\ndevice = "cpu"\ntarget_ratio = 0.5\n[space]\n'
        'decodings = [{}, {stop_at_end = true, commit = {policy = "threshold"}}]\n'
    )
    chosen = StudySpec.resolve(path, {}).space.chosen(denoiser)
    wanted = changed(denoiser, stop_at_end=True, commit={"policy": "threshold"})
    assert chosen["decodings"] == (None, wanted)
    frozen = tmp_path / "d.json"
    frozen.write_text('{"stop_at_end": true}')
    spec = StudySpec.resolve(path, {"decoding": frozen})
    assert spec.space.chosen(denoiser)["decodings"] == (changed(denoiser, stop_at_end=True),)
    path.write_text(
        'model = "gsm-mini"\ndevice = "cpu"\ntarget_ratio = 0.5\n[space]\n'
        'decodings = [{commit = {policy = "threshold", threshold = 2.0}}]\n'
    )
    with pytest.raises(PlanError, match="threshold"):
        StudySpec.resolve(path, {}).space.chosen(denoiser)


def test_scheduled_passes_by_hand():
    denoiser = tiny_denoiser()
    decoding = changed(denoiser, gen_length=8, block_length=4, steps=8, refresh_interval=2)
    found = PassCounts.scheduled(decoding)
    assert found.by_kind == {PassKind.REFRESH: 4, PassKind.ADVANCE: 0, PassKind.STEP: 4}
    assert found.steps_after == (1.0, 1.0, 1.0, 1.0)
    advancing = PassCounts.scheduled(decoding.changed({"window": {"advance": True}}))
    assert advancing.by_kind == {PassKind.REFRESH: 3, PassKind.ADVANCE: 1, PassKind.STEP: 4}


def test_passes_that_a_coarser_study_counted_are_not_counted_again(
    objective, tmp_path, monkeypatch
):
    coarse = run_study(
        objective, trials=8, name="coarse", storage=str(tmp_path / "s.db"), sensitivities=False
    )
    committed = [row for row in coarse.rows() if row.plan.decoding and row.plan.decoding.commit]
    assert committed
    fresh, asked = dataclasses.replace(objective), []
    monkeypatch.setattr(Answering, "ask", lambda self, *plan: asked.append(plan))
    into = optuna.create_study(study_name="fine")
    adopt(into, fresh, coarse)
    assert not asked and len(into.get_trials()) == len(coarse.rows())
    kept = {row.plan: row.generation_ms for row in coarse.rows()}
    for row in committed:
        assert fresh.latency(row.plan).generation_ms == kept[row.plan]


def test_passes_that_nobody_counted_are_one_line(objective, tmp_path):
    storage = str(tmp_path / "s.db")
    run_study(objective, trials=4, name="s", storage=storage, sensitivities=False)
    with sqlite3.connect(storage) as database:
        found = database.execute(
            "update trial_user_attributes set value_json = '{\"places\": 1}' where key = 'passes'"
        )
        assert found.rowcount
    with pytest.raises(StudyError, match="rows that hwsearch did not write"):
        adopt(optuna.create_study(), objective, load_study("s", storage))
