import numpy as np
import pytest

from hwsearch.analytical.golden.proxies import (
    BlockMeans,
    PrincipalCoordinates,
    project_all,
    usual_proxy,
)
from hwsearch.analytical.wiener import WienerEstimator
from hwsearch.errors import InputError
from tests.analytical.data import small_points


def test_block_means_are_means_times_the_root_of_a_block():
    image = np.arange(4 * 6 * 2, dtype=np.float64).reshape(4, 6, 2)
    found = BlockMeans((4, 6, 2), 2).project(image.reshape(1, -1)).reshape(2, 3, 2)
    for row in range(2):
        for column in range(3):
            block = image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            np.testing.assert_allclose(found[row, column], 2 * block.mean(axis=(0, 1)))


@pytest.mark.parametrize("kind", ["blocks", "axes"])
def test_directions_are_orthonormal_so_distances_never_grow(kind):
    points = small_points(size=48)
    proxy = BlockMeans((4, 4, 3), 2)
    if kind == "axes":
        proxy = PrincipalCoordinates.of(WienerEstimator.fit(points), 7, np.float64)
    directions = proxy.project(np.eye(48))
    np.testing.assert_allclose(directions.T @ directions, np.eye(proxy.size), atol=1e-12)
    proxies = project_all(points, proxy)
    assert proxies.shape == (len(points), proxy.size)
    full = np.linalg.norm(points.rows[0] - points.rows[1:], axis=1)
    assert (np.linalg.norm(proxies[0] - proxies[1:], axis=1) <= full + 1e-12).all()


@pytest.mark.parametrize("factor", [0, 3, 8])
def test_blocks_must_divide_the_image(factor):
    with pytest.raises(InputError, match="blocks must divide images of 4 by 4 pixels"):
        BlockMeans((4, 4, 3), factor)


def test_images_are_halved_and_other_points_projected():
    for shape, wanted in (((4, 4, 3), BlockMeans), ((3, 16, 1), PrincipalCoordinates), (None,) * 2):
        points = small_points(size=48, image_shape=shape)
        proxy = usual_proxy(points, WienerEstimator.fit(points))
        assert isinstance(proxy, wanted or PrincipalCoordinates)
