import pytest

from hwsearch.errors import InputError
from hwsearch.report import draw_front
from hwsearch.study import Goal
from hwsearch.study.run import run_study
from tests.study.test_energy import make
from tests.study.test_run import make_objective


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    storage = str(tmp_path_factory.mktemp("study") / "s.db")
    objective = make_objective(Goal(target_ratio=0.6))
    return run_study(objective, trials=12, name="tiny", storage=storage, sampler="random")


def test_a_front_is_drawn(study, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "front.svg"
    draw_front(study, path)
    drawn = path.read_text()
    assert drawn.startswith("<?xml")
    assert len(drawn) > 5_000


def test_an_unknown_kind_of_picture_is_refused(study, tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(InputError, match=r"cannot draw .*front\.xyz"):
        draw_front(study, tmp_path / "front.xyz")


def test_a_study_of_energy_is_drawn_in_joules(study, tmp_path):
    pytest.importorskip("matplotlib")
    energy = run_study(
        make(Goal(target_ratio=0.6, objective="energy")),
        trials=8,
        name="joules",
        storage=str(tmp_path / "s.db"),
        sampler="random",
    )
    for drawn, label in ((energy, "energy (J)"), (study, "time (ms)")):
        draw_front(drawn, tmp_path / "front.svg")
        assert f"predicted generation {label}" in (tmp_path / "front.svg").read_text()
