"""Linears that take a format together: what is offered, and studies from before they were told apart."""

import dataclasses
import json
import random

import pytest

from hwsearch.errors import InputError, StudyError
from hwsearch.plan import LINEAR_GROUPS, CompressionPlan
from hwsearch.study import Goal, SearchSpace, load_study, prepare
from hwsearch.study.choices.linear_groups import DOWN_APART, TOGETHER
from hwsearch.study.objective import size_bytes
from hwsearch.study.run import run_study
from hwsearch.study.settings import StudySpec
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser
from tests.denoisers.test_own import character_denoiser
from tests.study.choices.test_pruned_choices import KEPT
from tests.study.test_run import QUESTIONS, WORK

SPACE = SearchSpace(
    num_layers=2,
    thresholds=(1.0,),
    formats=("fp32", "w8a8", "w8"),
    linear_groups=DOWN_APART,
    kept_heads=(None, 1),
    kept_channels=(None, 64),
)


def make_objective(space=SPACE, denoiser=None):
    denoiser = denoiser or tiny_denoiser()
    device = formula_device(tiny_denoiser().geometry, WORK, kept=KEPT)
    return prepare(denoiser, space, device, WORK, Goal(target_ratio=0.9), QUESTIONS)


def test_down_is_offered_by_itself_where_inputs_may_be_rounded_whole():
    denoiser = tiny_denoiser()
    device = formula_device(denoiser.geometry, WORK)
    assert SearchSpace.of(denoiser, device).linear_groups == DOWN_APART
    blocks = SearchSpace.of(denoiser, device, formats=("fp32", "w8", "w4"))
    assert blocks.linear_groups == TOGETHER and "layer0.mlp" in blocks.parameters()
    own = SearchSpace.of(character_denoiser(), device)
    assert own.linear_groups == TOGETHER, "it names no down"
    told = SearchSpace.of(denoiser, device, linear_groups=LINEAR_GROUPS)
    assert told.linear_groups == LINEAR_GROUPS


@pytest.mark.parametrize("groups", [TOGETHER, DOWN_APART, LINEAR_GROUPS], ids=str)
def test_each_linear_group_is_a_parameter(groups):
    space = SearchSpace(num_layers=2, thresholds=(1.0,), linear_groups=groups)
    layer = [f"layer0.{name}" for name in ("sink_threshold", *groups)]
    assert list(space.parameters())[: len(layer)] == layer
    rng = random.Random(0)
    params = {name: rng.randrange(len(c)) for name, c in space.parameters().items()}
    assert space.params(space.plan(params)) == params
    assert len(set(space.uniform_plans())) == len(space.formats)
    apart = CompressionPlan.validate({"layers": [{"gate_up": "w8a8"}, {}]})
    assert space.offers(apart) == (groups != TOGETHER)
    again = SearchSpace.model_validate_json(space.model_dump_json())
    assert again == space and ("linear_groups" in space.model_dump()) == (groups != TOGETHER)


def test_a_plan_that_tells_apart_what_a_space_does_not_is_refused_by_name():
    space = SearchSpace(num_layers=1)
    with pytest.raises(StudyError, match=r"layer0\.mlp: gate_up and down differ.*linear_groups"):
        space.params(CompressionPlan.uniform(1, mlp="w8", down="w4"))


@pytest.mark.parametrize("names", [["attention"], ["attention", "mlp", "down"], ["qkvo", "mlp"]])
def test_names_must_hold_every_linear_once(names, tmp_path):
    path = tmp_path / "study.toml"
    model = 'model = "gsm-mini"\ndevice = "cpu"\ntarget_ratio = 0.5\n'
    path.write_text(f"{model}[space]\nlinear_groups = {json.dumps(names)}\n")
    with pytest.raises(StudyError, match=r"space\.linear_groups: .*each once"):
        StudySpec.resolve(path, {})


def test_flags_say_them_in_any_order(tmp_path):
    flags = {"model": "gsm-mini", "device": "cpu", "target_ratio": 0.5}
    spec = StudySpec.resolve(None, flags | {"linear_groups": "down,gate_up,attention"})
    assert spec.space.linear_groups == DOWN_APART
    path = tmp_path / "study.toml"
    path.write_text(spec.to_toml())
    assert StudySpec.resolve(path, {}) == spec


def test_a_model_that_names_one_group_is_not_searched_by_two():
    with pytest.raises(StudyError, match=r"\[space\]\.linear_groups: the network names mlp as one"):
        make_objective(SearchSpace(num_layers=2, linear_groups=DOWN_APART), character_denoiser())


@pytest.mark.parametrize("groups", [DOWN_APART, LINEAR_GROUPS], ids=str)
def test_tables_are_the_true_costs(groups):
    """Heads and channels act on each of their products, and are counted once."""
    objective = make_objective(SPACE.model_copy(update={"linear_groups": groups}))
    space, rng = objective.space, random.Random(1)
    for _ in range(60):
        params = {name: rng.randrange(len(c)) for name, c in space.parameters().items()}
        plan = space.plan(params)
        true = objective.latency(plan).generation_ms
        assert objective.times.of(params) == pytest.approx(true, rel=1e-9)
        assert objective.weights.of(params) == size_bytes(objective.denoiser, plan)


@pytest.fixture
def plain():
    space = SearchSpace(num_layers=2, thresholds=(1.0, 0.5), formats=("fp32", "w8a8"))
    return make_objective(space)


def test_a_study_of_before_goes_on_and_is_named_by_what_differs(plain, tmp_path):
    storage = str(tmp_path / "s.db")
    begun = run_study(plain, trials=8, name="s", storage=storage)
    assert "linear_groups" not in begun.record.space, "as it was written then"
    done = run_study(plain, trials=11, name="s", storage=storage)
    assert len(done.frame()) == 11 and "layer0.mlp" in done.optuna.trials[-1].params
    assert load_study("s", storage).space == plain.space
    apart = plain.space.model_copy(update={"linear_groups": DOWN_APART})
    with pytest.raises(InputError, match="created with space"):
        run_study(dataclasses.replace(plain, space=apart), trials=9, name="s", storage=storage)


def test_a_search_with_down_apart_counts_the_trials_of_one_without(plain, tmp_path):
    storage = str(tmp_path / "s.db")
    coarse = run_study(plain, trials=8, name="c", storage=storage)
    space = plain.space.model_copy(update={"linear_groups": DOWN_APART})
    fine = run_study(
        dataclasses.replace(plain, space=space), trials=16, name="f", storage=storage, refine=coarse
    )
    plans = fine.frame()["plan"].tolist()
    assert set(coarse.frame()["plan"]) <= set(plans)
    assert any(layer.mlp is None for plan in plans for layer in plan.layers)
    assert {"gate_up", "down"} <= set(fine.record.sensitivities["layers"][0])
