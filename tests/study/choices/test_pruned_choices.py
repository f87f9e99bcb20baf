"""Heads, channels and phases of the cache in a search: exact costs, and plans that export."""

import dataclasses
import json
import random

import pytest

from hwsearch.bundle import Exporter
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.errors import InfeasibleTargetError, StudyError
from hwsearch.jobs import exporting
from hwsearch.latency.timing.operator_times import Kept
from hwsearch.plan import CachePolicy, CompressionPlan
from hwsearch.runtime import Runtime, measure_agreement
from hwsearch.study import Goal, SearchSpace, load_study, prepare, resolve
from hwsearch.study.objective import size_bytes
from hwsearch.study.preparation import check_feasible, fastest_plan
from hwsearch.study.run import identity, run_study
from hwsearch.study.settings import StudySpec
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser
from tests.study.test_run import QUESTIONS, WORK

KEPT = Kept((0.5,), (0.75, 0.5))
PLAIN = {
    "num_layers": 2,
    "thresholds": [1.0, 0.5],
    "formats": ["fp32", "w8a8"],
    "groups": "free",
}
SPACE = SearchSpace(
    num_layers=2,
    thresholds=(1.0, 0.5),
    formats=("fp32", "w8a8"),
    kept_heads=(None, 1),
    kept_channels=(None, 96, 64),
    late_scales=(1.0, 0.5),
)


def make_objective(space=SPACE, ratio=0.6, **rest):
    denoiser = tiny_denoiser()
    device = formula_device(denoiser.geometry, WORK, kept=KEPT)
    return prepare(denoiser, space, device, WORK, Goal(target_ratio=ratio), QUESTIONS, **rest)


@pytest.fixture(scope="module")
def objective():
    return make_objective()


def draw(space, rng):
    return {name: rng.randrange(len(choices)) for name, choices in space.parameters().items()}


def test_old_spaces_keep_their_text_and_their_names():
    old = SearchSpace.model_validate(PLAIN)
    assert json.loads(old.model_dump_json()) == PLAIN
    assert not old.sizes and not old.plan_dials
    assert list(old.parameters()) == [
        "layer0.sink_threshold", "layer0.attention", "layer0.mlp",
        "layer1.sink_threshold", "layer1.attention", "layer1.mlp", "head",
    ]  # fmt: skip
    assert SearchSpace.model_validate_json(SPACE.model_dump_json()) == SPACE


def test_an_old_study_s_costs_and_identity_are_what_they_were():
    objective = make_objective(SearchSpace.model_validate(PLAIN))
    assert objective.times.is_additive and objective.weights.is_additive
    assert json.loads(identity(objective)["space"]) == PLAIN
    first = objective.latency(objective.first).generation_ms
    for name, choices in objective.space.parameters().items():
        zeros = dict.fromkeys(objective.space.parameters(), 0)
        for index in range(len(choices)):
            alone = objective.latency(objective.space.plan({**zeros, name: index})).generation_ms
            assert objective.costs()[name][index] == alone - first
    assert objective.times.constant == pytest.approx(0.0, abs=1e-12)
    assert objective.bank.calibration is None


def test_params_and_plans_are_inverse_up_to_what_makes_no_difference():
    rng = random.Random(0)
    for _ in range(50):
        plan = SPACE.plan(draw(SPACE, rng))
        assert SPACE.plan(SPACE.params(plan)) == plan
    none_dropped = SPACE.plan(dict.fromkeys(SPACE.parameters(), 0) | {"cache.late_scale": 1})
    assert none_dropped == CompressionPlan.uniform(2)
    assert SPACE.offers(CompressionPlan.uniform(2, kept_channels=96))
    assert not SPACE.offers(CompressionPlan.uniform(2, kept_channels=32))
    late = {"cache": CachePolicy(late_scale=0.5)}
    assert SPACE.offers(CompressionPlan.uniform(2, sink_threshold=0.5, **late))
    assert not SPACE.offers(CompressionPlan.uniform(2, sink_threshold=0.5, cache={"rule": "mass"}))


def test_milliseconds_and_bytes_of_every_plan_are_exact_sums_of_tables(objective):
    assert not objective.times.is_additive and not objective.weights.is_additive
    rng, off = random.Random(1), []
    for _ in range(200):
        params = draw(SPACE, rng)
        plan = SPACE.plan(params)
        true = objective.latency(plan).generation_ms
        assert objective.times.of(params) == pytest.approx(true, rel=1e-9)
        assert objective.weights.of(params) == size_bytes(objective.denoiser, plan)
        table = sum(objective.costs()[name][choice] for name, choice in params.items())
        off.append(abs(objective.times.first + objective.times.constant + table - true) / true)
    assert max(off) > 1e-4, "choices that act together are not additive"


def test_the_fastest_plan_is_the_fastest_of_all(objective):
    space = SPACE.model_copy(update={"groups": "tied", "rules": ("keep-stable", "recent")})
    tied = dataclasses.replace(objective, space=space)
    found = objective_ms(tied, fastest_plan(tied))
    assert found == pytest.approx(min(objective_ms(tied, plan) for plan in every(space)))
    limited = tied.with_goal(max_bytes=int(tied.weights.first * 0.7))
    within = [p for p in every(space) if size_bytes(tied.denoiser, p) <= limited.max_bytes]
    found = fastest_plan(limited)
    assert found in within and len(within) < space.size
    assert objective_ms(tied, found) == pytest.approx(min(objective_ms(tied, p) for p in within))
    with pytest.raises(InfeasibleTargetError, match=r"layer \d .*kept_heads 1, kept_channels 64"):
        check_feasible(tied.with_target_ms(1e-3))
    with pytest.raises(InfeasibleTargetError, match="the smallest takes"):
        fastest_plan(tied.with_goal(max_bytes=1))


def objective_ms(objective, plan):
    return objective.latency(plan).generation_ms


def every(space):
    from itertools import product

    names = space.parameters()
    for row in product(*(range(len(choices)) for choices in names.values())):
        yield space.plan(dict(zip(names, row, strict=True)))


@pytest.fixture(scope="module")
def study(objective, tmp_path_factory):
    storage = str(tmp_path_factory.mktemp("study") / "s.db")
    run_study(objective, trials=40, name="s", storage=storage)
    return load_study("s", storage)


def test_a_search_over_sizes_and_phases_ends_in_a_bundle(objective, study, tmp_path):
    assert objective.bank.calibration is not None
    best = study.feasible().iloc[0]
    assert best["generation_ms"] <= objective.target_ms
    assert best["loss"] <= study.feasible(uniform=True)["loss"].iloc[0]
    plans = study.frame()["plan"].tolist()
    assert any(layer.kept_channels for plan in plans for layer in plan.layers)
    assert any(plan.cache.late_scale < 1 for plan in plans)
    fitting = study.feasible()["plan"]
    pruned = next(p for p in fitting if p.layers[0].prunes or p.layers[1].prunes)
    compressed = compress(objective.denoiser, pruned, objective.bank)
    shares = objective.sinks.kept_shares(pruned)
    bundle = Exporter(objective.denoiser).export(
        compressed, shares, tmp_path / "b", questions=QUESTIONS
    )
    assert measure_agreement(Runtime(bundle, threads=1)).share >= 0.9
    assert isinstance(shares, KeptShares)


def test_the_sampler_keeps_to_the_target_though_costs_are_not_additive(study, objective):
    # plans that are laid out to learn from change one choice alone, and need not meet the target
    alone = {t.number for t in study.optuna.trials if sum(map(bool, t.params.values())) == 1}
    frame = study.frame()
    later = frame[(frame["number"] >= 25) & ~frame["number"].isin(alone)]
    assert len(later) > 5
    assert later["feasible"].mean() > 0.9, "proposals are held against exact milliseconds"
    assert (later["generation_ms"] > 0.85 * objective.target_ms).any()


@pytest.mark.parametrize("ratio", [0.45, 0.55, 0.8])
def test_another_target_is_answered_exactly(objective, study, ratio):
    found = resolve(study, ratio / 0.6 * study.target_ms)
    assert found.generation_ms <= found.target_ms
    assert objective_ms(objective, found.plan) == pytest.approx(found.generation_ms)
    assert size_bytes(objective.denoiser, found.plan) == found.size_bytes


def test_an_impossible_target_names_the_fastest_plan_of_all(objective, study):
    fastest = objective_ms(objective, fastest_plan(objective))
    with pytest.raises(InfeasibleTargetError, match=f"fastest takes {fastest:.2f} ms"):
        resolve(study, 1e-6)


def test_phases_need_a_loss_that_knows_them():
    loss_function = Forced()
    with pytest.raises(StudyError, match=r"loss 'nll' judges .*early from late"):
        make_objective(loss_function=loss_function)
    assert make_objective(
        SPACE.model_copy(update={"late_scales": (1.0,)}), loss_function=loss_function
    )


class Forced:
    """Goes by the name of a loss that sees single passes."""

    name, cost = "nll", 0.0

    def loss(self, network, kept_shares):
        return 0.0


def test_sizes_that_the_model_does_not_have_are_refused():
    with pytest.raises(StudyError, match=r"\[space\].kept_heads must be at most 2; got 3"):
        make_objective(SPACE.model_copy(update={"kept_heads": (None, 3)}))
    with pytest.raises(
        StudyError, match=r"kept_channels must not repeat a choice; got None, 64, 64"
    ):
        make_objective(SPACE.model_copy(update={"kept_channels": (None, 64, 64)}))


STUDY = """
model = "gsm-mini"
device = "cpu"
target_ratio = 0.5
[space]
kept_channels = [1.0, 0.75]
late_scales = [1.0, 0.5]
"""


def test_a_study_file_says_sizes_as_shares(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    flags = {"kept_heads": "1.0,0.5", "rules": "keep-stable,mass", "boundaries": "0.5,0.25"}
    spec = StudySpec.resolve(path, flags)
    again = tmp_path / "again.toml"
    again.write_text(spec.to_toml())
    assert StudySpec.resolve(again, {}) == spec
    chosen = spec.space.chosen(tiny_denoiser())
    assert chosen["kept_heads"] == (None, 1) and chosen["kept_channels"] == (None, 96)
    space = SearchSpace(num_layers=2).model_copy(update=chosen)
    assert space.rules == ("keep-stable", "mass") and space.late_scales == (1.0, 0.5)
    near = StudySpec.resolve(path, {"kept_heads": "1.0,0.9"})
    with pytest.raises(StudyError, match=r"kept_heads must keep another size .* keep 2, 2 of 2"):
        near.space.chosen(tiny_denoiser())
    with pytest.raises(StudyError, match=r"space.late_scales.1: .*greater than 0"):
        StudySpec.resolve(path, {"late_scales": "1.0,0"})
    with pytest.raises(StudyError, match=r"space.rules.0: .*got 'best'"):
        StudySpec.resolve(path, {"rules": "best"})


def test_any_plan_that_prunes_is_exported_by_its_own_calibration(tmp_path):
    path = tmp_path / "mine.jsonl"
    lines = [{"question": question, "answer": "#### 1"} for question in 3 * QUESTIONS]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    plan = CompressionPlan.uniform(2, kept_channels=64)
    asked = {"task": "problems", "task_path": str(path)}
    bundle = exporting.export(tiny_denoiser(), plan, tmp_path / "b", **asked)
    assert bundle.manifest.figures.task == asked
    assert measure_agreement(Runtime(bundle, threads=1)).share >= 0.9
