"""Points by name: what ships with scikit-learn, a mixture that is drawn, or a file of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwsearch.analytical.estimator import Floats
from hwsearch.analytical.points import PointSet, checked_points, map_points
from hwsearch.errors import InputError, UnknownNameError

#: Points by name, and what they are.
DATASETS = {
    "digits": "1,797 handwritten digits of 8 by 8 pixels (scikit-learn)",
    "patches": "patches of 16 by 16 pixels in colour, of two photographs (scikit-learn)",
    "mixture": "drawn: 256 normal clouds in 64 dimensions, each in 6 directions of its own",
}

#: Points that are drawn where nobody says how many.
DRAWN = 20_000

#: Height and width of a patch; patches begin at every so many pixels.
PATCH, STRIDE = 16, 2

#: Share of a photograph's columns, at its right, that held-out patches come from.
HELD_OUT = 0.25


def load_points(name: str, count: int | None = None, seed: int = 0) -> PointSet:
    """Points by a name of `DATASETS`, or of a .npy file; images are scaled to -1 to 1.

    Args:
        name: a name, or a path.
        count: points at most, drawn at random; None takes all (`DRAWN` of those that are drawn).
        seed: of what is drawn.

    Raises:
        InputError: there are no such points, or fewer than `count` or than two.
    """
    if name == "digits":
        points = _digits()
    elif name == "patches":
        points = photograph_patches()[0]
    elif name == "mixture":
        return mixture(DRAWN if count is None else count, seed=seed)
    elif name.endswith(".npy") or Path(name).is_file():
        points = map_points(Path(name))
    else:
        raise UnknownNameError("data set", name, DATASETS, "or give a .npy file")
    return points if count is None else drawn_points(points, count, seed)


def drawn_points(points: PointSet, count: int, seed: int = 0) -> PointSet:
    """Some of the points, drawn at random without replacement, in their order.

    Raises:
        InputError: there are fewer.
    """
    if not 2 <= count <= len(points):
        raise InputError(
            f"{points.name} has {len(points)} points, so 2 to {len(points)} can be taken; got {count}"
        )
    if count == len(points):
        return points
    kept = np.sort(np.random.default_rng(seed).permutation(len(points))[:count])
    return PointSet(points.name, points.rows[kept], points.image_shape)


def _digits() -> PointSet:
    from sklearn.datasets import load_digits

    pixels = load_digits().data
    return checked_points("digits", (pixels / 8.0 - 1.0).astype(np.float32), (8, 8, 1))


def photograph_patches(size: int = PATCH, stride: int = STRIDE) -> tuple[PointSet, PointSet]:
    """Overlapping patches of scikit-learn's two photographs; and held-out ones, of their right ends.

    No pixel is in both.

    Args:
        size: pixels of a patch's height and width.
        stride: pixels from a patch to the next.
    """
    from sklearn.datasets import load_sample_images

    ends: tuple[list[Floats], list[Floats]] = ([], [])
    for image in load_sample_images().images:
        photograph = (image / 127.5 - 1.0).astype(np.float32)
        border = round((1.0 - HELD_OUT) * photograph.shape[1])
        for found, part in zip(ends, (photograph[:, :border], photograph[:, border:]), strict=True):
            found.append(_windows(part, size, stride))
    shape = (size, size, 3)
    train, held_out = (np.concatenate(found) for found in ends)
    return checked_points("patches", train, shape), checked_points("held out", held_out, shape)


def _windows(image: Floats, size: int, stride: int) -> Floats:
    """Patches ``[patches, size * size * channels]`` of an image ``[height, width, channels]``."""
    found = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(0, 1))
    found = found[::stride, ::stride].transpose(0, 1, 3, 4, 2)
    return found.reshape(-1, size * size * image.shape[2])


def mixture(
    count: int, size: int = 64, clouds: int = 256, directions: int = 6, seed: int = 0
) -> PointSet:
    """Points of a mixture of normal clouds, as float32, each cloud thin but for a few directions.

    The clouds do not depend on `count`, so that sets of several sizes are of one distribution.

    Raises:
        InputError: fewer than two points are asked for.
    """
    if count < 2:
        raise InputError(f"at least two points are needed; got {count}")
    shape_rng, rng = np.random.default_rng(20260), np.random.default_rng([seed, 1])
    means = shape_rng.standard_normal((clouds, size)).astype(np.float32)
    axes = shape_rng.standard_normal((clouds, directions, size)).astype(np.float32)
    axes *= 0.6 / np.sqrt(directions)
    rows = np.empty((count, size), dtype=np.float32)
    for start in range(0, count, 65_536):
        end = min(start + 65_536, count)
        cloud = rng.integers(clouds, size=end - start)
        along = rng.standard_normal((end - start, directions), dtype=np.float32)
        noise = 0.05 * rng.standard_normal((end - start, size), dtype=np.float32)
        rows[start:end] = means[cloud] + np.einsum("nd,ndj->nj", along, axes[cloud]) + noise
    return PointSet("mixture", rows)
