"""Draw samples by a clean estimator, and measure its posterior, its agreement and its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsearch.analytical.agreement import pooled_r_squared, r_squared
from hwsearch.analytical.catalog import METHODS, make_estimator
from hwsearch.analytical.concentration import measure_concentration
from hwsearch.analytical.datasets import drawn_points
from hwsearch.analytical.ddim import sample_ddim, standard_noise
from hwsearch.analytical.estimator import CleanEstimator, Floats, add_noise
from hwsearch.analytical.noise import noise_schedule
from hwsearch.analytical.optimal import OptimalEstimator
from hwsearch.analytical.points import PointSet
from hwsearch.errors import InputError, UnknownNameError
from hwsearch.latency.timing.clock import interleave
from hwsearch.progress import each, shown

#: Points that a run needs, of which a tenth, at most `QUERIES`, are held out.
LEAST, QUERIES = 20, 32

#: What is timed beside the method that was asked for.
COMPARED = ("optimal", "wiener")

#: Noisy points of a timed call, and rounds of timing.
TIMED_BATCH, ROUNDS = 8, 3


@dataclass(frozen=True)
class AnalyticalRequest:
    """What is asked of a data set.

    Attributes:
        method: a name of `hwsearch.analytical.METHODS`.
        schedule: a noise schedule by name.
        steps: levels of noise that a sample passes, and that are measured.
        samples: how many are drawn.
        timed: whether cost is measured against the number of points.
        seed: of all chance.
    """

    method: str = "indexed"
    schedule: str = "linear"
    steps: int = 10
    samples: int = 16
    timed: bool = True
    seed: int = 0


@dataclass(frozen=True, eq=False)
class AnalyticalRun:
    """What was found.

    Attributes:
        samples: ``[samples, size]``.
        document: all figures, as plain data.
    """

    samples: Floats
    document: dict[str, Any]


def run_analytical(points: PointSet, request: AnalyticalRequest) -> AnalyticalRun:
    """Samples of a data set by one method, and figures: concentration, agreement, cost.

    Raises:
        InputError: there are fewer than `LEAST` points, or a name or number is wrong.
    """
    if request.method not in METHODS:
        raise UnknownNameError("method", request.method, METHODS)
    if len(points) < LEAST:
        raise InputError(
            f"{points.name}: a run holds points out, so it needs at least {LEAST}; got {len(points)}"
        )
    levels = noise_schedule(request.schedule).levels(request.steps)
    data, held_out = points.split(min(QUERIES, len(points) // 10), request.seed)
    estimator = make_estimator(request.method, data, request.seed)
    noise = standard_noise(request.samples, points.size, request.seed)
    samples, _ = sample_ddim(estimator, levels, noise)
    optimal = OptimalEstimator(data)
    clean = np.asarray(held_out.rows)
    found = measure_concentration(optimal.posterior, clean, levels, request.seed)
    document = {
        "data": points.name,
        "points": len(data),
        "size": points.size,
        "method": request.method,
        "schedule": request.schedule,
        "samples": request.samples,
        "concentration": [one.document() for one in found],
        "agreement": _agreement(estimator, optimal, clean, levels, request.seed),
        "cost": _cost(data, clean, levels, request) if request.timed else [],
    }
    return AnalyticalRun(samples, document)


def _agreement(
    estimator: CleanEstimator,
    optimal: OptimalEstimator,
    clean: Floats,
    levels: Sequence[float],
    seed: int,
) -> list[dict[str, float]]:
    """At each level, how near the denoised held-out points are to those of the full scan."""
    rows = []
    for place in each(range(len(levels)), "denoising", len(levels)):
        level = levels[place]
        noisy = add_noise(clean, level, np.random.default_rng([seed, place]))
        wanted, got = optimal.estimate(noisy, level), estimator.estimate(noisy, level)
        rows.append(
            {
                "alpha_bar": level,
                "r2": float(r_squared(got, wanted).mean()),
                "pooled_r2": pooled_r_squared(got, wanted),
                "mse_to_clean": float(((got - clean) ** 2).mean()),
            }
        )
    return rows


def _cost(
    data: PointSet, clean: Floats, levels: Sequence[float], request: AnalyticalRequest
) -> list[dict[str, Any]]:
    """Milliseconds a point and level, by number of points, medians of interleaved rounds."""
    methods = list(dict.fromkeys((*COMPARED, request.method)))
    counts = sorted({max(LEAST, len(data) // share) for share in (8, 4, 2, 1)})
    runs = {}
    for count in counts:
        some = drawn_points(data, min(count, len(data)), request.seed)
        for method in methods:
            runs[method, count] = _Walk(make_estimator(method, some), clean[:TIMED_BATCH], levels)
    samples = interleave(runs, ROUNDS, seed=request.seed, progress=shown("timing"))
    per_point = 1e-3 / (len(clean[:TIMED_BATCH]) * len(levels))
    return [
        {"points": count}
        | {method: per_point * float(np.median(samples[method, count])) for method in methods}
        for count in counts
    ]


@dataclass(frozen=True, eq=False)
class _Walk:
    """Denoises the same points at every level."""

    estimator: CleanEstimator
    clean: Floats
    levels: Sequence[float]

    def __call__(self) -> None:
        for place, level in enumerate(self.levels):
            noisy = add_noise(self.clean, level, np.random.default_rng(place))
            self.estimator.estimate(noisy, level)


def write_drawn(found: AnalyticalRun, points: PointSet, folder: Path) -> list[Path]:
    """Write samples as ``samples.npy``, and images as ``samples.png`` where matplotlib is installed.

    Raises:
        InputError: the folder cannot be written to.
    """
    from importlib.util import find_spec

    from hwsearch.report.analytical import draw_images

    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "samples.npy"]
    np.save(written[0], found.samples.reshape(len(found.samples), *(points.image_shape or (-1,))))
    if points.image_shape is not None and find_spec("matplotlib") is not None:
        written.append(folder / "samples.png")
        draw_images(found.samples, points.image_shape, written[-1])
    return written
