import json

import numpy as np
import pytest

from hwsearch.analytical import METHODS, load_points
from hwsearch.errors import InputError, UnknownNameError
from hwsearch.jobs.analytical import AnalyticalRequest, run_analytical, write_drawn
from tests.analytical.data import small_points


@pytest.fixture(scope="module")
def digits():
    return load_points("digits", 400)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_draws_samples_and_is_measured(method, digits):
    request = AnalyticalRequest(method=method, steps=4, samples=3, timed=False)
    found = run_analytical(digits, request)
    assert found.samples.shape == (3, 64)
    document = json.loads(json.dumps(found.document))
    assert (document["points"], document["method"], document["cost"]) == (368, method, [])
    near = [row["r2"] for row in document["agreement"]]
    if method in ("optimal", "indexed"):  # 368 points are all in the fixed sample
        assert near == pytest.approx([1.0] * 4, abs=1e-6)
    else:
        assert min(near) < 0.999
    again = run_analytical(digits, request)
    assert (again.samples == found.samples).all()
    assert again.document == found.document


def test_samples_of_the_optimal_denoiser_are_data_points(digits):
    found = run_analytical(digits, AnalyticalRequest(method="optimal", steps=20, timed=False))
    away = ((found.samples[:, None] - digits.rows) ** 2).mean(axis=2).min(axis=1)
    assert away.max() < 1e-6


def test_cost_is_told_for_every_size(digits):
    found = run_analytical(digits, AnalyticalRequest(method="golden", steps=2, samples=1))
    cost = found.document["cost"]
    assert [row["points"] for row in cost] == [46, 92, 184, 368]
    assert all(set(row) == {"points", "optimal", "wiener", "golden"} for row in cost)
    assert all(row["optimal"] > 0 for row in cost)


def test_what_cannot_be_is_refused(digits):
    with pytest.raises(InputError, match="needs at least 20; got 19"):
        run_analytical(small_points(count=19), AnalyticalRequest())
    with pytest.raises(UnknownNameError, match="unknown method 'gold'"):
        run_analytical(digits, AnalyticalRequest(method="gold"))
    with pytest.raises(UnknownNameError, match="unknown noise schedule"):
        run_analytical(digits, AnalyticalRequest(schedule="square"))


def test_samples_are_written_as_images_where_they_are_some(digits, tmp_path):
    pytest.importorskip("matplotlib")
    request = AnalyticalRequest(method="wiener", steps=2, samples=3, timed=False)
    found = run_analytical(digits, request)
    paths = write_drawn(found, digits, tmp_path / "new")
    assert [path.name for path in paths] == ["samples.npy", "samples.png"]
    assert np.load(paths[0]).shape == (3, 8, 8, 1)
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    plain = small_points(count=60)
    paths = write_drawn(run_analytical(plain, request), plain, tmp_path / "plain")
    assert [path.name for path in paths] == ["samples.npy"]
    assert np.load(paths[0]).shape == (3, 12)
