"""What is saved comes back, and a file that is something else is told in one line."""

import json

import numpy as np
import pytest

from hwsearch.errors import InputError
from hwsearch.forecast.fitting import fit
from hwsearch.forecast.settings import Golden, History, LowRank, Reuse, Ridge
from hwsearch.forecast.store import load, save
from tests.forecast.worlds import World, play

OPEN = {"least_agreement": 0.0, "least_r2": -1e9, "threshold": 1e-6}
SETTINGS = [
    Reuse(**OPEN),
    History(**OPEN),
    Ridge(**OPEN),
    LowRank(rank=4, **OPEN),
    Golden(rank=4, coreset=20, **OPEN),
]


@pytest.fixture(params=SETTINGS, ids=lambda one: one.method)
def written(request, tmp_path):
    world = World()
    found = fit(request.param, world.blocks(30), world.embeddings, belongs_to="abc")
    save(found, tmp_path / "forecast.npz")
    return found, tmp_path / "forecast.npz"


@pytest.fixture
def golden(tmp_path):
    world = World()
    found = fit(SETTINGS[-1], world.blocks(30), world.embeddings)
    save(found, tmp_path / "golden.npz")
    return tmp_path / "golden.npz"


def test_what_is_saved_comes_back(written):
    found, path = written
    again, block = load(path), World(seed=5).block()
    assert (again.settings, again.figures, again.trusted) == (
        found.settings,
        found.figures,
        found.trusted,
    )
    assert again.belongs_to == "abc"
    assert (play(again, block, 0)[0] == play(found, block, 0)[0]).all()


def test_a_fit_without_anything_to_fit_on_comes_back(tmp_path):
    found = fit(LowRank(), [], belongs_to="x")
    save(found, tmp_path / "none.npz")
    assert load(tmp_path / "none.npz").trusted == (False,) * 4


def test_the_file_is_named_as_asked(tmp_path):
    save(fit(Reuse(), []), tmp_path / "forecast")
    assert [one.name for one in tmp_path.iterdir()] == ["forecast"]


def refused(path):
    with pytest.raises(InputError) as error:
        load(path)
    said = str(error.value)
    assert str(path) in said
    assert "\n" not in said
    return said


def test_a_file_that_is_cut_short_is_refused(written):
    _, path = written
    whole = path.read_bytes()
    for share in np.linspace(0, 0.999, 40):
        path.write_bytes(whole[: int(share * len(whole))])
        refused(path)


def test_a_flipped_bit_is_refused_or_does_no_harm(written):
    found, path = written
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    expected, block, refusals = found.method.arrays(), World(seed=5).block(), 0
    # where the archive says what is where, and anywhere
    places = [*range(60), *range(len(whole) - 300, len(whole)), *rng.integers(0, len(whole), 300)]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            again = load(path)
        except InputError as error:
            assert str(path) in str(error)
            refusals += 1
            continue
        for name, array in again.method.arrays().items():
            np.testing.assert_array_equal(array, expected[name])
        assert np.isfinite(play(again, block, 0)[0]).all()
    assert refusals > 100


def rewritten(path, **changes):
    """A file with arrays replaced, or left out where None."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files} | changes
    np.savez(path, **{name: one for name, one in arrays.items() if one is not None})


MAP = ("bias", "state", "written", "up", "copy_bias", "copy_state")


@pytest.mark.parametrize("name", [*MAP, "states", "missed", "shares"])
def test_arrays_that_do_not_belong_are_refused(golden, name):
    with np.load(golden) as archive:
        array = archive[name]
    wrong = array.copy()
    wrong.flat[0] = np.nan
    for change in (None, array.astype(np.float64), array[..., None], array[..., :-1], wrong):
        rewritten(golden, **{name: change})
        # where two sizes differ, either may be named
        assert f"'{name[:5]}" in refused(golden)
        rewritten(golden, **{name: array})
    load(golden)


@pytest.mark.parametrize("name", ["about", "figures"])
def test_a_file_that_does_not_say_what_it_is_is_refused(golden, name):
    rewritten(golden, **{name: None})
    refused(golden)
    rewritten(golden, **{name: np.zeros((4, 7)) - 1})
    refused(golden)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"version": 99}, "version 99"),
        ({"settings": {"method": "tea-leaves"}}, "tea-leaves"),
        ({"settings": {"method": "low-rank", "rank": 0}}, "rank"),
        ({"settings": {"method": "golden", "rank": 4, "coreset": 19}}, "coreset"),
        ({"settings": 3}, "settings"),
        ({"belongs_to": 3}, "belongs to"),
    ],
)
def test_settings_are_checked(golden, changes, said):
    with np.load(golden) as archive:
        about = json.loads(str(archive["about"])) | changes
    rewritten(golden, about=np.array(json.dumps(about)))
    assert said in refused(golden)


def test_pickles_are_never_opened(golden):
    rewritten(golden, up=np.array([{"a": 1}], dtype=object))
    refused(golden)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello", b"\x93NUMPY\x01\x00"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "other.npz").write_bytes(content)
    refused(tmp_path / "other.npz")


def test_an_array_by_itself_a_folder_and_nothing_are_refused(tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("array.npy", ".", "missing.npz"):
        refused(tmp_path / name)
