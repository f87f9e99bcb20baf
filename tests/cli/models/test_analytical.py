import json

import numpy as np
import pytest


def test_it_prints_levels_and_cost(run, tmp_path):
    pytest.importorskip("matplotlib")
    code, out, err = run("analytical", "digits", "--points", "200", "--steps", "3", "-o", tmp_path)
    assert code == 0, err
    assert "digits, 180 points of 64 numbers" in out
    assert "milliseconds to denoise a point once" in out
    assert "samples.png" in out
    assert np.load(tmp_path / "samples.npy").shape == (16, 8, 8, 1)


def test_json_is_one_document(run, tmp_path):
    path = tmp_path / "mine.npy"
    np.save(path, np.random.default_rng(0).standard_normal((60, 3, 5)))
    flags = ("--method", "golden", "--schedule", "cosine", "--samples", "2", "--no-cost", "--json")
    code, out, err = run("analytical", path, *flags)
    assert code == 0, err
    document = json.loads(out)
    assert (document["points"], document["size"], document["samples"]) == (54, 15, 2)
    assert (document["schedule"], document["cost"], document["files"]) == ("cosine", [], [])
    assert len(document["concentration"]) == len(document["agreement"]) == 10
    first, last = document["concentration"][0], document["concentration"][-1]
    assert first["effective_points"] > 50 > 2 > last["effective_points"]


@pytest.mark.parametrize(
    ("values", "flags", "said"),
    [
        (None, (), "cannot read file of points .*none.npy"),
        (np.zeros((30, 4), dtype=np.int64), (), "must be float32 or float64; got int64"),
        (np.zeros((1, 4)), (), "at least two points are needed; got 1"),
        (np.zeros((12, 4)), (), "needs at least 20; got 12"),
        (np.zeros(30), (), r"must have the shape \[points, ...\]; got \[30\]"),
        (np.full((30, 4), np.nan), (), "row 0 holds NaN or infinity"),
        (np.zeros((30, 4)), ("--points", "31"), "has 30 points, so 2 to 30 can be taken"),
        (np.zeros((30, 4)), ("--steps", "1001"), "1 to 1000 can be taken; got 1001"),
        (np.zeros((30, 4)), ("--schedule", "cubic"), "unknown noise schedule 'cubic'"),
        (np.zeros((30, 4)), ("--method", "best"), "unknown method 'best'"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(run, values, flags, said, tmp_path):
    import re

    path = tmp_path / "none.npy"
    if values is not None:
        np.save(path, values)
    code, out, err = run("analytical", path, *flags, "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert re.search(said, err), err
    assert err.startswith("error: ") and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_points_that_are_all_the_same_are_no_error(run, tmp_path):
    np.save(tmp_path / "same.npy", np.ones((40, 3)))
    for method in ("optimal", "wiener", "local", "golden", "golden-local", "indexed"):
        code, out, err = run(
            "analytical", tmp_path / "same.npy", "--method", method, "--no-cost", "--json"
        )
        assert code == 0, err
        assert json.loads(out)["method"] == method


def test_an_unknown_name_lists_the_known(run):
    code, _, err = run("analytical", "digts")
    assert code == 2
    assert "unknown data set 'digts'; did you mean 'digits'?" in err
