import numpy as np
import pytest

from hwsearch.analytical.datasets import (
    DATASETS,
    drawn_points,
    load_points,
    mixture,
    photograph_patches,
)
from hwsearch.errors import InputError, UnknownNameError
from tests.analytical.data import small_points


def test_every_name_has_points():
    for name in DATASETS:
        points = load_points(name, count=100, seed=3)
        assert len(points) == 100
        assert points.rows.dtype == np.float32
        assert np.isfinite(points.rows).all()
        if points.image_shape is not None:
            assert -1 <= points.rows.min() < points.rows.max() <= 1


def test_what_is_drawn_depends_on_the_seed_alone():
    assert (load_points("mixture", 50, 1).rows == load_points("mixture", 50, 1).rows).all()
    assert (load_points("mixture", 50, 1).rows != load_points("mixture", 50, 2).rows).any()
    points = small_points(count=30)
    drawn = drawn_points(points, 8, seed=1)
    places = [int(np.flatnonzero((points.rows == row).all(axis=1))[0]) for row in drawn.rows]
    assert places == sorted(set(places)) and places != list(range(8))
    assert drawn_points(points, 30) is points


def test_mixtures_of_several_sizes_are_of_one_distribution():
    few, many = (mixture(count).rows for count in (20_000, 80_000))
    np.testing.assert_allclose(few.mean(axis=0), many.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(few.var(axis=0), many.var(axis=0), rtol=0.1)


def test_held_out_patches_share_no_pixel_with_the_others():
    """Each photograph has 640 columns, of which the last 160 are held out."""
    train, held_out = photograph_patches(size=16, stride=16)
    assert len(train) == 2 * (427 // 16) * (480 // 16)
    assert len(held_out) == 2 * (427 // 16) * (160 // 16)
    assert train.image_shape == held_out.image_shape == (16, 16, 3)


def test_patches_are_windows_of_the_photographs():
    from sklearn.datasets import load_sample_images

    image = load_sample_images().images[0]
    train, _ = photograph_patches(size=8, stride=4)
    across = (480 - 8) // 4 + 1
    patch = train.rows[3 * across + 5].reshape(8, 8, 3)
    np.testing.assert_allclose((patch + 1) * 127.5, image[12:20, 20:28], atol=1e-3)


@pytest.mark.parametrize("count", [0, 1, 1798])
def test_as_many_points_as_there_are(count):
    with pytest.raises(InputError, match="digits has 1797 points, so 2 to 1797 can be taken"):
        load_points("digits", count)


def test_unknown_names_and_files(tmp_path):
    with pytest.raises(UnknownNameError, match=r"unknown data set 'digit'; did you mean 'digits'"):
        load_points("digit")
    with pytest.raises(InputError, match="cannot read file of points"):
        load_points(str(tmp_path / "none.npy"))
    with pytest.raises(InputError, match="at least two points are needed; got 1"):
        load_points("mixture", 1)
