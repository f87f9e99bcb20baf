"""Cheap views of a point, by which candidates are screened before they are looked at in full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hwsearch.analytical.estimator import Floats
from hwsearch.analytical.points import PointSet
from hwsearch.analytical.wiener import WienerEstimator
from hwsearch.errors import InputError


class PointProxy(Protocol):
    """Projects points onto a few orthonormal directions.

    Noise of a point is then noise of the same variance in its proxy, and a distance between proxies
    never exceeds the distance of the points.
    """

    @property
    def size(self) -> int:
        """Numbers in a proxy."""
        ...

    def project(self, rows: Floats) -> Floats:
        """Proxies ``[rows, size]`` of points ``[rows, numbers]``."""
        ...


@dataclass(frozen=True)
class BlockMeans:
    """A picture of low resolution: means of square blocks of pixels, times the root of their number.

    Attributes:
        image_shape: height, width, channels.
        factor: pixels of a block's height and width.
    """

    image_shape: tuple[int, int, int]
    factor: int

    def __post_init__(self) -> None:
        height, width, _ = self.image_shape
        if self.factor < 1 or height % self.factor or width % self.factor:
            raise InputError(
                f"blocks must divide images of {height} by {width} pixels; got {self.factor}"
            )

    @property
    def size(self) -> int:
        """Numbers in a proxy."""
        height, width, channels = self.image_shape
        return height * width * channels // self.factor**2

    def project(self, rows: Floats) -> Floats:
        """Pictures of low resolution ``[rows, size]``."""
        height, width, channels = self.image_shape
        f = self.factor
        blocks = rows.reshape(len(rows), height // f, f, width // f, f, channels)
        # by sums over plain axes: a mean over two at once is several times slower
        return blocks.sum(axis=4).sum(axis=2).reshape(len(rows), -1) * rows.dtype.type(1.0 / f)


@dataclass(frozen=True, eq=False)
class PrincipalCoordinates:
    """Coordinates along the first principal axes of the data, around their mean.

    Attributes:
        mean: ``[numbers]``.
        axes: ``[numbers, size]``, orthonormal columns.
    """

    mean: Floats
    axes: Floats

    @classmethod
    def of(cls, wiener: WienerEstimator, size: int, dtype: np.dtype | type) -> PrincipalCoordinates:
        """The first `size` axes of a Wiener estimator, as `dtype`; all that it has if they are fewer."""
        return cls(wiener.mean.astype(dtype), wiener.axes[:, :size].astype(dtype))

    @property
    def size(self) -> int:
        """Numbers in a proxy."""
        return int(self.axes.shape[1])

    def project(self, rows: Floats) -> Floats:
        """Coordinates ``[rows, size]``; the mean is no part of them, so distances are kept."""
        return rows @ self.axes


def project_all(points: PointSet, proxy: PointProxy) -> Floats:
    """Proxies of all points, ``[points, size]``."""
    return np.concatenate([proxy.project(rows) for _, rows in points.blocks()])


def usual_proxy(points: PointSet, wiener: WienerEstimator) -> PointProxy:
    """Half the resolution for images, as the authors; else, or where halves do not fit, 32 axes."""
    shape = points.image_shape
    if shape is not None and shape[0] % 2 == 0 and shape[1] % 2 == 0:
        return BlockMeans(shape, 2)
    return PrincipalCoordinates.of(wiener, 32, points.rows.dtype)
