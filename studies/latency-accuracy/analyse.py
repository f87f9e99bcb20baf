"""Predict, hold against the measured times, and say how far off: ours, and two simpler predictors."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sample import Measured
from scipy import stats

from hwsearch.decoding.kept import KeptPlan
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.formats.catalog import FORMATS
from hwsearch.latency.devices.device import Calibration, Device, DeviceInfo, Line, Provenance
from hwsearch.latency.devices.roofline import moved_bytes, operations
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.operators import OpKey, Workload
from hwsearch.latency.prediction.calibration import fit_lines
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.plan import WeightFormat

PASSES = ("refresh", "step", "generation")
PREDICTORS = ("ours", "flops", "bytes")
BARS = {"refresh": 0.02, "step": 0.04, "generation": 0.04}


@dataclass(frozen=True)
class Drawn:
    """Plans with what it takes to predict them."""

    denoiser: Denoiser
    workload: Workload
    plans: Sequence[KeptPlan]


class Counting:
    """Costs that count something of an operator instead of timing it. Satisfies `Costs`."""

    def __init__(self, count: str) -> None:
        self.count = count

    def cost_us(self, key: OpKey) -> float:
        if self.count == "bytes":
            return moved_bytes(key, FORMATS[WeightFormat(key.format)].bytes_per_weight)
        return operations(key) * key.rows / max(key.rows - 1, 1)

    def spread(self, key: OpKey) -> float:
        return 0.0

    def formats(self) -> list[WeightFormat]:
        return list(FORMATS)


def predictions(
    drawn: Drawn, table: LatencyTable, measured: Measured, fitted: int
) -> tuple[pd.DataFrame, dict[str, float]]:
    """One row a judged plan, and how long predictions took.

    The first `fitted` plans calibrate every predictor, and are left out of the rows.
    """
    rows = {index: {"plan": index} for index in range(fitted, len(drawn.plans))}
    for index, row in rows.items():
        row |= {f"{name}_ms": measured[index][i] for i, name in enumerate(PASSES)}
    took: list[float] = []
    ours = calibrated(drawn, table, measured, fitted)
    for name in PREDICTORS:
        predictor = ours if name == "ours" else calibrated(drawn, Counting(name), measured, fitted)
        for index, row in rows.items():
            began = time.perf_counter()
            found = predictor.predict(drawn.plans[index])
            took.append(time.perf_counter() - began)
            for part in PASSES:
                row[f"{name}_{part}_ms"] = getattr(found, f"{part}_ms")
            if name == "ours" and found.intervals_ms is not None:
                row["low_ms"], row["high_ms"] = found.intervals_ms.generation
    warm = [timed(ours, drawn, index) for index in rows for _ in range(20)]
    return pd.DataFrame(rows.values()), {"first": 1e6 * took[0], "median": float(np.median(warm))}


def timed(predictor: Predictor, drawn: Drawn, index: int) -> float:
    """Microseconds of a prediction."""
    began = time.perf_counter()
    predictor.predict(drawn.plans[index])
    return 1e6 * (time.perf_counter() - began)


def calibrated(drawn: Drawn, costs, measured: Measured, fitted: int) -> Predictor:
    """A predictor whose sums are calibrated on the first plans."""
    info = DeviceInfo(
        name="here", provenance=Provenance.MODELLED, description="this run", runtime="onnxruntime"
    )
    device, geometry = Device(info, costs, Path()), drawn.denoiser.geometry
    plain = Predictor(device, geometry, drawn.workload)
    sums = [plain.sums_ms(plan) for plan in drawn.plans[:fitted]]
    if isinstance(costs, Counting):  # which knows one number a plan, whatever its formats
        sums = [tuple({None: sum(part.values())} for part in pair) for pair in sums]
    times = [measured[index] for index in range(fitted)]
    return Predictor(device, geometry, drawn.workload, lines(drawn, sums, times))


def lines(drawn: Drawn, sums: list, times: list) -> Calibration:
    """`fit_lines`; where a predictor tells no two refreshes apart, a constant."""
    try:
        return fit_lines("here", drawn.workload, sums, times)
    except ValueError:
        constant = [
            Line(intercept_ms=float(np.median(part)), slope=1e-12, mape=0.0, plans=len(times))
            for part in zip(*times, strict=True)
        ]
        return Calibration(
            model="here", refresh=constant[0], step=constant[1], generation=constant[2]
        )


def judge(frame: pd.DataFrame) -> dict:
    """Errors of every predictor, with 95 % bootstrap intervals over plans."""
    found = {name: {part: mape(frame, name, part) for part in PASSES} for name in PREDICTORS}
    for name in PREDICTORS:
        errors = np.concatenate([errors_of(frame, name, part) for part in PASSES])
        found[name]["within_10_percent"] = float((np.abs(errors) <= 0.1).mean())
        found[name]["spearman"] = ranks(frame, name)
    inside = frame["generation_ms"].between(frame["low_ms"], frame["high_ms"])
    return {
        "plans": len(frame),
        "predictors": found,
        "inside_10_90": share(int(inside.sum()), len(frame)),
    }


def errors_of(frame: pd.DataFrame, name: str, part: str) -> np.ndarray:
    return (frame[f"{name}_{part}_ms"] / frame[f"{part}_ms"] - 1).to_numpy(float)


def mape(frame: pd.DataFrame, name: str, part: str) -> dict[str, object]:
    errors = np.abs(errors_of(frame, name, part))
    rng = np.random.default_rng(0)
    means = errors[rng.integers(len(errors), size=(4000, len(errors)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {
        "mape": float(errors.mean()),
        "interval": [float(low), float(high)],
        "largest": float(errors.max()),
    }


def ranks(frame: pd.DataFrame, name: str) -> float:
    predicted = frame[f"{name}_generation_ms"]
    if np.ptp(predicted) == 0 or len(frame) < 3:
        return 0.0
    return float(stats.spearmanr(predicted, frame["generation_ms"]).statistic)


def share(count: int, of: int) -> dict[str, object]:
    interval = stats.binomtest(count, of).proportion_ci(method="wilson")
    return {"share": count / of, "interval": [float(interval.low), float(interval.high)]}


def print_summary(summary: dict) -> None:
    """The figures, each beside its bar."""
    print(f"{summary['plans']} drawn plans, predicted and measured\n")
    print(f"{'':24}" + "".join(f"{name:>24}" for name in PREDICTORS))
    for part in PASSES:
        cells = [summary["predictors"][name][part] for name in PREDICTORS]
        text = [
            f"{100 * c['mape']:.2f} % [{100 * c['interval'][0]:.2f}, {100 * c['interval'][1]:.2f}]"
            for c in cells
        ]
        bar = f"{part} MAPE (bar {100 * BARS[part]:.0f} %)"
        print(f"{bar:24}" + "".join(f"{cell:>24}" for cell in text))
    for label, key, form in (
        ("within 10 % (bar 95 %)", "within_10_percent", "{:.1%}"),
        ("Spearman (bar 0.97)", "spearman", "{:.3f}"),
    ):
        cells = [form.format(summary["predictors"][name][key]) for name in PREDICTORS]
        print(f"{label:24}" + "".join(f"{cell:>24}" for cell in cells))
    inside = summary["inside_10_90"]
    low, high = inside["interval"]
    print(
        f"\nmeasured generations between the predicted 10th and 90th percentile: "
        f"{inside['share']:.0%} [{low:.0%}, {high:.0%}], 80 % expected"
    )
    took = summary["prediction_us"]
    print(f"a prediction takes {took['median']:.0f} us (the first {took['first']:.0f} us)")


def draw_figure(frame: pd.DataFrame, path: Path) -> None:
    """Predicted against measured generations, ours and the simpler predictors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    x = frame["generation_ms"]
    ends = [x.min() * 0.95, x.max() * 1.05]
    axes.fill_between(
        ends, [0.9 * e for e in ends], [1.1 * e for e in ends], color="0.9", label="±10 %"
    )
    axes.plot(ends, ends, color="0.4", lw=1)
    styles = {"bytes": ("#E69F00", "^"), "flops": ("#56B4E9", "s"), "ours": ("#000000", "o")}
    for name, (colour, marker) in styles.items():
        y = frame[f"{name}_generation_ms"]
        label = {"ours": "operators", "flops": "FLOPs alone", "bytes": "bytes alone"}[name]
        axes.scatter(x, y, s=16, color=colour, marker=marker, label=label)
    ours = frame["ours_generation_ms"]
    bars = [ours - frame["low_ms"], frame["high_ms"] - ours]
    axes.errorbar(x, ours, yerr=bars, fmt="none", ecolor="0.5", lw=0.8)
    axes.set_xlabel("measured generation time (ms)")
    axes.set_ylabel("predicted generation time (ms)")
    axes.legend(frameon=False)
    figure.savefig(path)
