"""The tables and pictures of studies/analytical/README.md, from the CSV files of the other stages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hwsearch.report.analytical import draw_images

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "images"
#: Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = {"optimal": "#000000", "indexed": "#D55E00", "golden random": "#0072B2"}


def report(out: Path) -> None:
    """Print every table whose stage has been run, and draw what goes with it."""
    for name, show in (
        ("golden.csv", golden), ("cost.csv", cost), ("gaussian.csv", gaussian),
        ("order-levels.csv", order), ("order-samples.csv", samples),
    ):  # fmt: skip
        if (out / name).exists():
            print(f"\n{name}")
            show(pd.read_csv(out / name), out)


def golden(table: pd.DataFrame, _out: Path) -> None:
    """Agreement and speed, a level a row; then whole walks."""
    print(table["machine"][0], "built in", table["build_seconds"][0], "s")
    print(
        "| ᾱ | averaged | r² | an image | faster, one | faster, 32 | golden, random | golden, nearest |"
    )
    print("| -- " * 8 + "|")
    for level, some in table.groupby("alpha_bar", sort=False):
        by = some.set_index("method")
        ours = by.loc["indexed"]
        print(
            f"| {level:.5f} | {ours.effective_points:,.0f} | {span(ours, 'r2', 4)} "
            f"| {ours.image_r2_mean:.3f}, {ours.image_r2_median:.3f} "
            f"| {times(ours, 1)} | {times(ours, 32)} "
            f"| {span(by.loc['golden random'], 'r2', 3)} | {span(by.loc['golden nearest'], 'r2', 3)} |"
        )
    for name, some in table.groupby("method", sort=False):
        for batch in (1, 32):
            if (whole := some[f"ms_{batch}"].sum()) > 0:
                ratio = some[f"scan_ms_{batch}"].sum() / whole
                print(f"{name}, a whole walk, batch {batch}: {ratio:.1f} times faster")
        least = some[["r2", "image_r2_mean", "image_r2_median"]].min()
        print(name, "least over levels:", least.round(4).to_dict())


def cost(table: pd.DataFrame, out: Path) -> None:
    """Growth of time, its exponents, and how near the index is at each size."""
    from run import exponents

    found = exponents(table)
    print(found.round(3).to_string())
    middle = table.groupby(["method", "points"])["ms"].median().unstack(0)
    print(middle.round(3).to_string())
    print(table.groupby("points")["build_seconds"].first().round(1).to_string())
    near = pd.read_csv(out / "cost-agreement.csv")
    print(near.pivot_table(index="alpha_bar", columns="points", values="r2").round(4).to_string())
    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    for name, colour in COLOURS.items():
        some = table[table["method"] == name].groupby("points")["ms"]
        low, high = some.quantile(0.25), some.quantile(0.75)
        slope = found.set_index("method").loc[name, "exponent"]
        label = {
            "optimal": "scan of all points", "indexed": "indexed subset (ours)",
            "golden random": "golden subset (the authors' code)",
        }[name]  # fmt: skip
        label = f"{label}, grows as N^{slope:.2f}"
        axes.plot(low.index, some.median(), "o-", color=colour, label=label, ms=4)
        axes.fill_between(low.index, low, high, color=colour, alpha=0.2, lw=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("points N of the data")
    axes.set_ylabel("ms to denoise a point at one level")
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False)
    figure.savefig(PICTURES / "analytical-cost.png")


def gaussian(table: pd.DataFrame, _out: Path) -> None:
    """The largest difference by number of points."""
    print(table.groupby("points")["largest_difference"].max().to_string())


def order(table: pd.DataFrame, _out: Path) -> None:
    """r^2 to the network, and squared error to the clean patch, a level a row."""
    names = list(dict.fromkeys(table["method"]))
    for title, column, digits in (("r² to the network", "r2", 3), ("squared error", "mse", 4)):
        print(f"| {title} | " + " | ".join(names) + " |")
        print("| -- " * (len(names) + 1) + "|")
        for level, some in table.groupby("alpha_bar", sort=False):
            by = some.set_index("method")
            cells = [span(by.loc[name], column, digits) for name in names]
            print(f"| {level:.5f} | " + " | ".join(cells) + " |")
    print(
        table.groupby("method", sort=False)[["r2", "image_r2_mean", "mse"]]
        .mean()
        .round(4)
        .to_string()
    )


def samples(table: pd.DataFrame, out: Path) -> None:
    """r^2 of samples from the same noise; and some of them, the network's first."""
    print("| denoiser | r² an image (95 %) | pooled r² | squared error |")
    print("| -- | -- | -- | -- |")
    for _, row in table.iterrows():
        print(f"| {row.method} | {span(row, 'image_r2', 3)} | {row.r2:.3f} | {row.mse:.4f} |")
    if (out / "order-samples.npy").exists():
        drawn = np.load(out / "order-samples.npy")
        draw_images(
            drawn.reshape(-1, 16 * 16 * 3), (16, 16, 3), PICTURES / "analytical-samples.png"
        )


def span(row: pd.Series, name: str, digits: int) -> str:
    """A figure with its interval."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})".replace("-", "−")


def times(row: pd.Series, batch: int) -> str:
    """How many times faster, median and quartiles of the rounds."""
    names = (f"speedup_{batch}{end}" for end in ("", "_low", "_high"))
    value, low, high = (row[name] for name in names)
    return f"{value:.0f} ({low:.0f} to {high:.0f})"


if __name__ == "__main__":
    report(Path(__file__).parent)
