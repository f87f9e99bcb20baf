"""The data that analytical diffusion averages: rows of numbers, in memory or mapped from a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsearch.analytical.estimator import Floats
from hwsearch.errors import InputError
from hwsearch.files import FileKind
from hwsearch.files.arrays import map_npy
from hwsearch.files.kinds import GIB

#: Rows that are looked at together: what a scan holds in memory does not grow with the data.
BLOCK = 8192

#: Channels that make the last axis of images one of colours.
_COLOURS = (1, 3, 4)


@dataclass(frozen=True, eq=False)
class PointSet:
    """Clean points.

    Attributes:
        name: what they are called.
        rows: ``[points, size]`` floats; may be mapped from a file, and is never written to.
        image_shape: height, width and channels of a row; None where rows are no images.
    """

    name: str
    rows: Floats
    image_shape: tuple[int, int, int] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """Numbers in a point."""
        return int(self.rows.shape[1])

    def blocks(self, block: int = BLOCK) -> Iterator[tuple[slice, Floats]]:
        """Rows in order, `block` at a time, each with where it is."""
        for start in range(0, len(self), block):
            where = slice(start, min(start + block, len(self)))
            yield where, np.asarray(self.rows[where])

    def mean(self, block: int = BLOCK) -> NDArray[np.float64]:
        """The mean point ``[size]``."""
        total = np.zeros(self.size)
        for _, rows in self.blocks(block):
            total += rows.sum(axis=0, dtype=np.float64)
        return total / len(self)

    def split(self, held_out: int, seed: int = 0) -> tuple[PointSet, PointSet]:
        """The others, and `held_out` points drawn at random.

        Raises:
            InputError: fewer than two would be left.
        """
        if not 0 < held_out <= len(self) - 2:
            raise InputError(
                f"{self.name} has {len(self)} points, so 1 to {len(self) - 2} can be held out; "
                f"got {held_out}"
            )
        order = np.random.default_rng(seed).permutation(len(self))
        ends = np.sort(order[held_out:]), np.sort(order[:held_out])
        first, second = (replace(self, rows=self.rows[index]) for index in ends)
        return first, second


def checked_points(
    name: str, rows: Floats, image_shape: tuple[int, int, int] | None = None
) -> PointSet:
    """Rows as a point set, read through once.

    Raises:
        InputError: they are no floats ``[points, size]``, one point alone, or hold NaN or infinity.
    """
    if rows.ndim != 2 or rows.shape[1] < 1:
        raise InputError(
            f"{name}: points must have the shape [points, size]; got {list(rows.shape)}"
        )
    if rows.dtype.kind != "f" or rows.dtype.itemsize not in (4, 8):
        raise InputError(
            f"{name}: points must be float32 or float64; got {rows.dtype}: convert them first, "
            "bytes of an image by x / 127.5 - 1"
        )
    if len(rows) < 2:
        raise InputError(f"{name}: at least two points are needed; got {len(rows)}")
    if image_shape is not None and prod(image_shape) != rows.shape[1]:
        raise InputError(f"{name}: images of {image_shape} do not have {rows.shape[1]} numbers")
    points = PointSet(name, rows, image_shape)
    for where, block in points.blocks():
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            row = where.start + int(np.argmin(finite))
            raise InputError(
                f"{name}: points must be finite numbers; row {row} holds NaN or infinity"
            )
    return points


#: A file of points, which is mapped and not read.
POINTS_FILE = FileKind("file of points", 4096 * GIB, fix="give a .npy file of floats")


def map_points(path: Path) -> PointSet:
    """Points of a .npy file ``[points, ...]``, mapped: they are read when they are needed.

    ``[points, height, width]`` and ``[points, height, width, 1, 3 or 4]`` are images.

    Raises:
        InputError: it is no such file, or `checked_points` refuses what it holds.
    """
    values = map_npy(path, POINTS_FILE)
    if values.ndim < 2:
        raise InputError(
            f"{path}: points must have the shape [points, ...]; got {list(values.shape)}"
        )
    if not values.flags["C_CONTIGUOUS"]:
        raise InputError(
            f"{path}: rows must lie one after the other (C order); save np.ascontiguousarray(...)"
        )
    return checked_points(
        str(path), values.reshape(len(values), prod(values.shape[1:])), _images(values.shape)
    )


def _images(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    if len(shape) == 3:
        return shape[1], shape[2], 1
    if len(shape) == 4 and shape[3] in _COLOURS:
        return shape[1], shape[2], shape[3]
    return None
