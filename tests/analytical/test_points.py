import numpy as np
import pytest

from hwsearch.analytical.points import checked_points, map_points
from hwsearch.errors import InputError
from tests.analytical.data import small_points


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros((4, 3), dtype=np.uint8), r"must be float32 or float64; got uint8.*x / 127.5 - 1"),
        (np.zeros((4, 3), dtype=np.float16), "must be float32 or float64; got float16"),
        (np.zeros((1, 3)), "at least two points are needed; got 1"),
        (np.zeros(4), r"must have the shape \[points, ...\]; got \[4\]"),
        (np.zeros((4, 0)), r"must have the shape \[points, size\]; got \[4, 0\]"),
        (np.array([[0.0, 1.0], [np.nan, 0.0]]), "row 1 holds NaN or infinity"),
        (np.array([[np.inf, 1.0], [1.0, 0.0]]), "row 0 holds NaN or infinity"),
        (np.zeros((4, 3, 2)).transpose(0, 2, 1), "C order"),
        (np.array([{}, {}]), "points.npy: not an array .*holds object"),
    ],
)
def test_files_that_are_no_points_are_refused_in_a_line(values, said, tmp_path):
    path = tmp_path / "points.npy"
    if values.ndim == 3:  # numpy writes such a view as it lies only if it is Fortran's
        values = np.asfortranarray(values)
    np.save(path, values)
    with pytest.raises(InputError, match=said) as error:
        map_points(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [b"", b"no numbers", b"\x93NUMPY\x01\x00"])
def test_files_that_are_no_arrays_are_refused_in_a_line(text, tmp_path):
    path = tmp_path / "points.npy"
    path.write_bytes(text)
    with pytest.raises(InputError, match=r"points.npy: not an array") as error:
        map_points(path)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="cannot read file of points"):
        map_points(tmp_path / "none.npy")


def test_images_have_height_width_and_channels(tmp_path):
    for shape, wanted in (
        ((5, 4, 6), (4, 6, 1)),
        ((5, 4, 6, 3), (4, 6, 3)),
        ((5, 2, 4, 6), None),
        ((5, 7), None),
    ):
        np.save(tmp_path / "points.npy", np.zeros(shape))
        points = map_points(tmp_path / "points.npy")
        assert points.image_shape == wanted
        assert points.size == np.prod(shape[1:])
    with pytest.raises(InputError, match="do not have 5 numbers"):
        checked_points("x", np.zeros((3, 5)), (2, 2, 1))


def test_held_out_points_are_no_others():
    points = small_points(count=30)
    kept, held_out = points.split(7, seed=2)
    assert (len(kept), len(held_out)) == (23, 7)
    together = np.concatenate([kept.rows, held_out.rows])
    assert (np.sort(together, axis=0) == np.sort(points.rows, axis=0)).all()
    for wrong in (0, 29, 30):
        with pytest.raises(InputError, match="1 to 28 can be held out"):
            points.split(wrong)


def test_blocks_are_all_rows_in_order():
    points = small_points(count=30)
    found = list(points.blocks(8))
    assert [len(rows) for _, rows in found] == [8, 8, 8, 6]
    assert (np.concatenate([rows for _, rows in found]) == points.rows).all()
    assert (points.rows[found[1][0]] == found[1][1]).all()
