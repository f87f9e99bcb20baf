import numpy as np
import pytest

from hwsearch.analytical.agreement import pooled_r_squared, r_squared

WANTED = np.array([[0.0, 2.0], [4.0, 4.0]])


def test_each_image_is_held_against_its_own_numbers():
    """A constant image has no variance: its error counts as it is."""
    found = np.array([[1.0, 2.0], [4.0, 5.0]])
    assert r_squared(found, WANTED) == pytest.approx([1 - 0.5 / 2, 1 - 0.5])
    assert r_squared(WANTED, WANTED) == pytest.approx([1, 1])


def test_all_are_held_against_their_mean():
    # around the mean (2, 3) the squares are 4 + 1 + 4 + 1
    found = np.array([[1.0, 2.0], [4.0, 5.0]])
    assert pooled_r_squared(found, WANTED) == pytest.approx(1 - 2 / 10)
    mean = np.broadcast_to(WANTED.mean(axis=0), WANTED.shape)
    assert pooled_r_squared(mean, WANTED) == pytest.approx(0)
