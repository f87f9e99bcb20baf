"""Analytical diffusion: how near golden subsets are to a full scan, what they cost, and what a network does.

    python studies/analytical/run.py golden     # 50,000 patches of 32 x 32 x 3: agreement and speed
    python studies/analytical/run.py cost       # a mixture of 10,000 to 1,000,000 points: growth of cost
    python studies/analytical/run.py gaussian   # the Wiener closed form beside numpy.linalg.solve
    python studies/analytical/run.py order      # held-out patches of 16 x 16 x 3, beside a trained network
    python studies/analytical/run.py report     # the tables and pictures of studies/analytical/README.md

Each writes CSV files beside this one; `report` reads them. Times are of one thread (OMP_NUM_THREADS=1),
all that are compared in turns within one run; only ratios are meant to be believed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))

from hwsearch.analytical import (
    CleanEstimator,
    GoldenEstimator,
    IndexedEstimator,
    OptimalEstimator,
    WienerEstimator,
    add_noise,
    linear_schedule,
    sample_ddim,
    standard_noise,
)
from hwsearch.analytical.agreement import pooled_r_squared, r_squared
from hwsearch.analytical.datasets import drawn_points, mixture, photograph_patches
from hwsearch.analytical.estimator import Floats
from hwsearch.analytical.golden.proxies import BlockMeans, PrincipalCoordinates
from hwsearch.analytical.locality import LocalEstimator, Locality
from hwsearch.analytical.points import PointSet
from hwsearch.latency.devices.environment import this_machine
from hwsearch.latency.timing.clock import interleave

HERE = Path(__file__).parent
#: Resamples of every bootstrap.
RESAMPLES = 2000


def noisy_at(clean: Floats, levels: Sequence[float], seed: int = 0) -> list[Floats]:
    """Noisy points at each level, the same for whoever asks."""
    return [
        add_noise(clean, level, np.random.default_rng([seed, place]))
        for place, level in enumerate(levels)
    ]


def bootstrap(value: Callable[[Floats], float], count: int) -> tuple[float, float, float]:
    """A statistic of some images, by their places, with its 95 % percentile interval."""
    rng = np.random.default_rng(0)
    drawn = [value(rng.integers(count, size=count)) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(value(np.arange(count))), float(low), float(high)


def agreement(found: Floats, wanted: Floats) -> dict[str, float]:
    """Both r^2 of denoised images, pooled with its interval over images."""
    wanted, found = wanted.astype(np.float64), found.astype(np.float64)
    errors = ((found - wanted) ** 2).sum(axis=1)
    spreads = ((wanted - wanted.mean(axis=0)) ** 2).sum(axis=1)
    value, low, high = bootstrap(lambda i: 1.0 - errors[i].sum() / spreads[i].sum(), len(found))
    assert abs(value - pooled_r_squared(found, wanted)) < 1e-9
    each = r_squared(found, wanted)
    return {
        "r2": value, "r2_low": low, "r2_high": high,
        "image_r2_mean": float(each.mean()), "image_r2_median": float(np.median(each)),
    }  # fmt: skip


def golden(out: Path, points: int, queries: int, rounds: int) -> None:
    """Stage a: golden subsets beside the full scan, on real patches as large as CIFAR-10's images."""
    train, held_out = photograph_patches(32, 2)
    data = drawn_points(train, points)
    clean = np.asarray(drawn_points(held_out, queries).rows)
    del train, held_out
    levels = linear_schedule().levels(10)
    noisy = noisy_at(clean, levels)
    optimal = OptimalEstimator(data)
    began = time.perf_counter()
    indexed = IndexedEstimator(data)
    built = time.perf_counter() - began
    proxy = BlockMeans((32, 32, 3), 2)
    authors = {
        f"golden {pool}": GoldenEstimator(data, proxy, pool=pool) for pool in ("nearest", "random")
    }
    rows = []
    for level, points_at in zip(levels, noisy, strict=True):
        softmax = optimal.posterior.softmax(points_at, level)
        wanted = softmax.mean()
        few = slice(0, max(2, queries // 4))
        found = {"indexed": indexed.estimate(points_at, level)}
        found |= {name: each.estimate(points_at[few], level) for name, each in authors.items()}
        runs: dict[tuple[str, int], Callable[[], object]] = {}
        for batch in (1, 32):
            some = points_at[:batch]
            runs["optimal", batch] = lambda x=some, a=level: optimal.estimate(x, a)
            runs["indexed", batch] = lambda x=some, a=level: indexed.estimate(x, a)
        for name, each in authors.items():
            runs[name, 1] = lambda x=points_at[:1], a=level, e=each: e.estimate(x, a)
        samples = {key: np.array(value) for key, value in interleave(runs, rounds).items()}
        for name, got in found.items():
            row = {"alpha_bar": level, "method": name, "images": len(got)}
            row |= agreement(got, wanted[: len(got)])
            row["effective_points"] = float(np.median(softmax.effective_points()))
            row["entropy_nats"] = float(np.median(softmax.entropy()))
            for batch in (1, 32):
                if (name, batch) in samples:
                    ratio = samples["optimal", batch] / samples[name, batch]
                    row[f"speedup_{batch}"] = float(np.median(ratio))
                    low, high = np.quantile(ratio, [0.25, 0.75])
                    row[f"speedup_{batch}_low"], row[f"speedup_{batch}_high"] = low, high
                    row[f"ms_{batch}"] = float(np.median(samples[name, batch])) / 1e3 / batch
                    row[f"scan_ms_{batch}"] = (
                        float(np.median(samples["optimal", batch])) / 1e3 / batch
                    )
            rows.append(row)
            print(
                {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True
            )
    table = pd.DataFrame(rows)
    table["build_seconds"], table["machine"] = built, str(this_machine())
    table.to_csv(out / "golden.csv", index=False, float_format="%.5g")


def cost(out: Path, counts: Sequence[int], rounds: int) -> None:
    """Stage b: time against the number of points, all sizes and methods in turns in one run."""
    clean = mixture(32, seed=7).rows
    levels = linear_schedule().levels(10)
    noisy = noisy_at(clean, levels)
    runs: dict[tuple[str, int], Callable[[], object]] = {}
    agreements, built = [], {}
    for count in counts:
        data = mixture(count)
        began = time.perf_counter()
        indexed = IndexedEstimator(data)
        built[count] = time.perf_counter() - began
        optimal = OptimalEstimator(data)
        axes = PrincipalCoordinates.of(indexed.wiener, 32, np.float32)
        authors = GoldenEstimator(data, axes, pool="random")
        for name, estimator, batch in (
            ("optimal", optimal, 8), ("indexed", indexed, 8), ("golden random", authors, 1),
        ):  # fmt: skip
            runs[name, count] = Walk(estimator, levels, [points[:batch] for points in noisy])
        for level, points in zip(levels, noisy, strict=True):
            softmax = optimal.posterior.softmax(points, level)
            row = {"points": count, "alpha_bar": level}
            row |= agreement(indexed.estimate(points, level), softmax.mean())
            row["effective_points"] = float(np.median(softmax.effective_points()))
            agreements.append(row)
        print(count, "built in", built[count], flush=True)
    pd.DataFrame(agreements).to_csv(out / "cost-agreement.csv", index=False, float_format="%.5g")
    samples = interleave(runs, rounds)
    rows = [
        {"method": name, "points": count, "round": place,
         "ms": micros / 1e3 / run.images, "build_seconds": built[count]}
        for (name, count), run in runs.items()
        for place, micros in enumerate(samples[name, count])
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    table["machine"] = str(this_machine())
    table.to_csv(out / "cost.csv", index=False, float_format="%.6g")
    print(exponents(table))


class Walk:
    """Denoises the same points at every level."""

    def __init__(self, estimator: CleanEstimator, levels: Sequence[float], noisy: list[Floats]):
        self.estimator, self.levels, self.noisy = estimator, levels, noisy
        self.images = len(levels) * len(noisy[0])

    def __call__(self) -> None:
        for level, points in zip(self.levels, self.noisy, strict=True):
            self.estimator.estimate(points, level)


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Slopes of log time against log points, with intervals over rounds."""
    rows = []
    for name, some in table.groupby("method"):
        wide = some.pivot_table(index="round", columns="points", values="ms")
        logs = np.log(wide.columns.to_numpy(dtype=float))
        values = wide.to_numpy()

        def slope(
            places: Floats, first: int = 0, logs: Floats = logs, values: Floats = values
        ) -> float:
            middle = np.log(np.median(values[places], axis=0))
            return float(np.polyfit(logs[first:], middle[first:], 1)[0])

        last = int(np.argmin(np.abs(logs - (logs[-1] - np.log(10)))))
        whole = bootstrap(slope, len(values))
        decade = bootstrap(lambda i, last=last, slope=slope: slope(i, last), len(values))
        ends = np.median(values, axis=0)
        rows.append([name, *whole, *decade, ends[0], ends[-1]])
    names = [
        "method",
        "exponent",
        "low",
        "high",
        "last decade",
        "low ",
        "high ",
        "first ms",
        "last ms",
    ]
    return pd.DataFrame(rows, columns=names)


def gaussian(out: Path) -> None:
    """Stage c: the Wiener closed form beside the posterior of a normal cloud, solved directly."""
    rows = []
    train, held_out = photograph_patches(16, 4)
    for count in (100, 700, 5000):
        data = drawn_points(train, count)
        wiener = WienerEstimator.fit(data)
        exact = np.asarray(data.rows, dtype=np.float64)
        mean, covariance = exact.mean(axis=0), np.cov(exact.T, bias=True)
        clean = np.asarray(held_out.rows[:32], dtype=np.float64)
        levels = linear_schedule().levels(10)
        for level, noisy in zip(levels, noisy_at(clean, levels), strict=True):
            seen = level * covariance + (1 - level) * np.eye(len(mean))
            moved = noisy - np.sqrt(level) * mean
            wanted = mean + np.sqrt(level) * np.linalg.solve(seen, moved.T).T @ covariance
            worst = np.abs(wiener.estimate(noisy, level) - wanted).max()
            rows.append({"points": count, "alpha_bar": level, "largest_difference": worst})
    table = pd.DataFrame(rows)
    table.to_csv(out / "gaussian.csv", index=False, float_format="%.3g")
    print(table.groupby("points")["largest_difference"].max())


def order(out: Path, points: int, images: int, samples: int, steps: int) -> None:
    """Stage d: every denoiser on held-out patches, beside a network trained on the same patches."""
    from unet import NetworkEstimator, trained

    train, held_out = photograph_patches(16, 2)
    data = drawn_points(train, points)
    clean = np.asarray(drawn_points(held_out, images, seed=1).rows)
    began = time.perf_counter()
    network = NetworkEstimator(trained(data, steps), data.image_shape)
    print("trained in", time.perf_counter() - began, flush=True)
    methods = methods_of(data)
    levels = linear_schedule().levels(10)
    rows = []
    for level, noisy in zip(levels, noisy_at(clean, levels), strict=True):
        wanted = network.estimate(noisy, level)
        for name, estimator in {"network": network, **methods}.items():
            got = estimator.estimate(noisy, level)
            row = {"alpha_bar": level, "method": name} | agreement(got, wanted)
            error = ((got - clean) ** 2).mean(axis=1)
            row["mse"], row["mse_low"], row["mse_high"] = bootstrap(
                lambda i, error=error: error[i].mean(), len(error)
            )
            rows.append(row)
        print(pd.DataFrame(rows[-len(methods) - 1 :]).to_string(), flush=True)
    pd.DataFrame(rows).to_csv(out / "order-levels.csv", index=False, float_format="%.5g")
    drawn = sampled(methods, network, levels, samples)
    drawn.to_csv(out / "order-samples.csv", index=False, float_format="%.5g")
    print(drawn.to_string())


def methods_of(data: PointSet) -> dict[str, CleanEstimator]:
    """Those of the paper's table, and ours."""
    wiener = WienerEstimator.fit(data)
    assert data.image_shape is not None
    proxy, locality = BlockMeans(data.image_shape, 2), Locality(wiener)
    return {
        "optimal": OptimalEstimator(data),
        "wiener": wiener,
        "local": LocalEstimator(data, locality),
        "golden": GoldenEstimator(data, proxy),
        "golden-local": GoldenEstimator(data, proxy, pool="random", locality=locality),
        "indexed": IndexedEstimator(data),
    }


def sampled(
    methods: dict[str, CleanEstimator], network: CleanEstimator, levels: Sequence[float], count: int
) -> pd.DataFrame:
    """DDIM samples from the same noise as the network's, as the paper compares them."""
    noise = standard_noise(count, network.size, seed=3)
    wanted = sample_ddim(network, levels, noise)[0].clip(-1, 1)
    rows, images = [], [wanted]
    for name, estimator in methods.items():
        got = sample_ddim(estimator, levels, noise)[0].clip(-1, 1)
        images.append(got)
        each = r_squared(got, wanted)
        mean, low, high = bootstrap(lambda i, each=each: each[i].mean(), count)
        row = {"method": name, "image_r2": mean, "image_r2_low": low, "image_r2_high": high}
        rows.append(
            row | {"r2": pooled_r_squared(got, wanted), "mse": float(((got - wanted) ** 2).mean())}
        )
    np.save(HERE / "order-samples.npy", np.stack(images)[:, :8])
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("golden", "cost", "gaussian", "order", "report"))
    parser.add_argument("--points", type=int, help="50,000 of golden, 20,000 of order if left")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    print(this_machine(), flush=True)
    if options.stage == "golden":
        golden(options.out, options.points or 50_000, options.images, options.rounds)
    elif options.stage == "cost":
        counts = (10_000, 30_000, 100_000, 300_000, 1_000_000)
        cost(options.out, counts, options.rounds)
    elif options.stage == "gaussian":
        gaussian(options.out)
    elif options.stage == "order":
        order(options.out, options.points or 20_000, options.images, options.samples, options.steps)
    else:
        from report import report

        report(options.out)


if __name__ == "__main__":
    main()
