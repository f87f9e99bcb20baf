import pytest

from hwsearch.errors import InputError
from hwsearch.report import draw_front
from hwsearch.search import Target
from hwsearch.search.run import run_study
from tests.search.test_run import make_objective


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    storage = str(tmp_path_factory.mktemp("study") / "s.db")
    objective = make_objective(Target(ratio=0.6))
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
