"""Energy as a search's target, as its second objective and as a limit beside the time."""

import dataclasses

import pytest

from hwsearch.errors import InfeasibleTargetError, InputError, StudyError, UnknownNameError
from hwsearch.latency.devices.device import Power
from hwsearch.study import Goal, ObjectiveKind, SearchSpace, load_study, prepare, resolve, search
from hwsearch.study.preparation import reopen
from hwsearch.study.run import run_study
from hwsearch.study.settings import StudySpec
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser
from tests.study.test_run import QUESTIONS, WORK

WATTS = 5.0


def device(watts=WATTS):
    found = formula_device(tiny_denoiser().geometry, WORK)
    power = None if watts is None else Power(watts=watts, scope="the wall", source="a test")
    return dataclasses.replace(found, info=found.info.model_copy(update={"power": power}))


def make(goal):
    space = SearchSpace(num_layers=2, thresholds=(1.0, 0.5))
    return prepare(tiny_denoiser(), space, device(), WORK, goal, QUESTIONS)


@pytest.fixture(scope="module")
def objective():
    return make(Goal(target_ratio=0.6, objective="energy"))


@pytest.fixture(scope="module")
def study(objective, tmp_path_factory):
    storage = str(tmp_path_factory.mktemp("study") / "s.db")
    run_study(objective, trials=20, name="s", storage=storage)
    return load_study("s", storage)


def test_the_winner_is_within_the_joules_and_the_study_says_so(objective, study):
    assert study.objective is ObjectiveKind.ENERGY
    assert study.unit.symbol == "J"
    frame, most = study.frame(), study.unit.of(study.target_ms)
    joules = [objective.predictor.energy_j(objective.sinks.keep(p)) for p in frame["plan"]]
    assert frame["generation_joules"].tolist() == pytest.approx(joules)
    assert (frame["feasible"] == (frame["generation_joules"] <= most)).all()
    assert study.feasible()["loss"].iloc[0] <= study.feasible(uniform=True)["loss"].iloc[0]


def test_a_ratio_of_energy_is_one_of_time_and_joules_are_watts_times_time(objective):
    same = make(Goal(target_ratio=0.6))
    assert objective.target_ms == pytest.approx(same.target_ms)
    joules = WATTS * same.target_ms / 1e3
    assert make(Goal(target_joules=joules, objective="energy")).target_ms == pytest.approx(
        same.target_ms
    )


def test_a_study_goes_on_under_its_own_objective_and_power_alone(objective, study, tmp_path):
    storage = str(tmp_path / "s.db")
    run_study(objective, trials=8, name="s", storage=storage)
    assert len(run_study(objective, trials=9, name="s", storage=storage).frame()) == 9
    with pytest.raises(InputError, match="created with objective energy, not loss"):
        run_study(make(Goal(target_ratio=0.6)), trials=9, name="s", storage=storage)
    stronger = dataclasses.replace(objective.predictor.device, info=device(7.0).info)
    objective.predictor.device, before = stronger, objective.predictor.device
    try:
        with pytest.raises(InputError, match="created with power 5 W, not 7 W"):
            run_study(objective, trials=9, name="s", storage=storage)
    finally:
        objective.predictor.device = before
    again = reopen(study, objective.denoiser, before, QUESTIONS)
    assert (again.goal.objective, again.target_ms) == (
        ObjectiveKind.ENERGY,
        pytest.approx(objective.target_ms),
    )


def test_the_front_of_loss_and_energy(tmp_path):
    both = make(Goal(target_ratio=1.0, objective="energy-front"))
    study = run_study(both, trials=20, name="s", storage=str(tmp_path / "s.db"))
    assert study.objective is ObjectiveKind.ENERGY_FRONT
    values = [trial.values[1] for trial in study.optuna.get_trials()]
    assert values == pytest.approx(study.frame()["generation_joules"].tolist())
    assert study.front()["generation_joules"].is_monotonic_increasing


@pytest.mark.parametrize("kind", ["loss", "front"])
def test_a_limit_of_joules_beside_the_time_holds(kind, tmp_path):
    loose = make(Goal(target_ratio=1.0, objective=kind))
    most = 0.6 * WATTS * loose.target_ms / 1e3
    limited = make(Goal(target_ratio=1.0, max_joules=most, objective=kind))
    assert limited.budget_ms() == pytest.approx(loose.budget_ms() - 0.4 * loose.target_ms)
    study = run_study(limited, trials=20, name="s", storage=str(tmp_path / "s.db"))
    frame = study.frame()
    assert frame["generation_joules"].max() > most, "the uncompressed plan is tried all the same"
    assert frame.loc[frame["feasible"], "generation_joules"].max() <= most
    assert study.front()["generation_joules"].max() <= most
    assert resolve(study, study.target_ms).generation_joules <= most


def test_another_target_in_joules_of_a_study_of_time(tmp_path):
    study = run_study(
        make(Goal(target_ratio=0.7)), trials=20, name="s", storage=str(tmp_path / "s.db")
    )
    joules = WATTS * study.target_ms / 1e3
    found = resolve(study, target_joules=joules)
    same = resolve(study, joules / WATTS * 1e3)
    assert (found.plan, found.loss, found.trial) == (same.plan, same.loss, same.trial)
    assert found.generation_joules == pytest.approx(WATTS * found.generation_ms / 1e3)
    with pytest.raises(
        InfeasibleTargetError, match=r"no plan meets 1e-06 J: the fastest takes .* J"
    ):
        resolve(study, target_joules=1e-6)
    with pytest.raises(InputError, match="larger than 0; got -1"):
        resolve(study, target_joules=-1.0)
    with pytest.raises(InputError, match="exactly one of target_ms and target_joules"):
        resolve(study, 1.0, target_joules=1.0)


def test_a_study_without_power_answers_no_joules(tmp_path):
    bare = dataclasses.replace(make(Goal(target_ratio=0.7)))
    bare.predictor.device = device(None)
    study = run_study(bare, trials=8, name="s", storage=str(tmp_path / "s.db"))
    assert study.frame()["generation_joules"].isna().all()
    with pytest.raises(InputError, match="study s knows no power of its device formula"):
        resolve(study, target_joules=1.0)


def test_an_impossible_target_of_energy_is_answered_in_joules():
    with pytest.raises(InfeasibleTargetError, match=r"no plan meets .* J: the fastest takes .* J"):
        make(Goal(target_joules=1e-9, objective="energy"))
    with pytest.raises(InfeasibleTargetError, match=r"no plan meets 1e-09 J: the fastest takes"):
        make(Goal(target_ratio=1.0, max_joules=1e-9, objective="front"))


@pytest.mark.parametrize(
    "goal",
    [
        Goal(target_ratio=1.0, objective="energy"),
        Goal(target_joules=1.0, objective="energy"),
        Goal(target_ratio=1.0, max_joules=1.0),
    ],
)
def test_energy_without_power_is_refused_by_name(goal):
    space = SearchSpace(num_layers=2)
    with pytest.raises(InputError, match=r"formula has no \[power\]"):
        prepare(tiny_denoiser(), space, device(None), WORK, goal, QUESTIONS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"target_joules": 1.0, "target_ratio": 0.5}, "exactly one of"),
        ({"target_joules": -1.0}, "target_joules: .*greater than 0, got -1"),
        ({"target_joules": float("nan")}, "target_joules: .*finite number, got nan"),
        ({"target_ms": 1.0}, "takes target_joules, not target_ms"),
        ({"target_ratio": 1.0, "max_joules": -1.0}, "max_joules: .*greater than 0, got -1"),
    ],
)
def test_a_target_of_energy_is_one_positive_number(given, said):
    with pytest.raises(InputError, match=said):
        Goal(objective="energy", **given)


def test_two_limits_of_energy_are_refused():
    with pytest.raises(InputError, match="max_joules limits energy beside a target of time"):
        Goal(target_joules=1.0, objective="energy", max_joules=1.0)


def test_search_refuses_an_unknown_objective_and_joules_for_time():
    arguments = (tiny_denoiser(), SearchSpace(num_layers=2), device())
    with pytest.raises(UnknownNameError, match="did you mean 'energy'"):
        search(*arguments, target_ms=1.0, objective="enrgy")
    with pytest.raises(InputError, match="target_joules needs objective energy"):
        search(*arguments, target_joules=1.0)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"objective": "energy"}, "exactly one of target_ms, target_ratio and target_joules"),
        ({"target_joules": 1.0}, "target_joules needs objective energy"),
        ({"target_joules": 1.0, "target_ms": 1.0}, "exactly one of"),
        ({"objective": "energy", "target_ms": 1.0}, "takes target_joules, not target_ms"),
        ({"objective": "energy", "target_joules": -1.0}, "target_joules: .*greater than 0"),
        ({"objective": "energy", "target_ratio": 0.5, "max_joules": 1.0}, "not max_joules"),
        ({"target_ratio": 0.5, "max_joules": 0.0}, "max_joules: .*greater than 0"),
    ],
)
def test_a_study_file_says_what_of_energy_is_wrong(flags, said):
    with pytest.raises(StudyError, match=said):
        StudySpec.resolve(None, {"model": "m", "device": "d", **flags})


def test_flags_of_energy_win_over_a_file_of_time(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text('model = "m"\ndevice = "d"\ntarget_ms = 3.0\n')
    spec = StudySpec.resolve(path, {"objective": "energy", "target_joules": 2.0})
    assert (spec.target_ms, spec.target_joules, spec.objective) == (None, 2.0, ObjectiveKind.ENERGY)
    path.write_text(spec.to_toml())
    assert StudySpec.resolve(path, {}) == spec
