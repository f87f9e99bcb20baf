"""Pruning methods and their rows: a table with intervals and paired tests, CSV, and a picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from hwsearch.decoding.kept import signal_of
from hwsearch.errors import InputError
from hwsearch.files.whole_files import whole_files
from hwsearch.plan import CachePolicy, CacheRule, WeightPruning
from hwsearch.tasks.statistics import Comparison, Interval, compare, wilson


@dataclass(frozen=True)
class Method:
    """A way to prune.

    Attributes:
        family: ``cache`` positions, ``structured`` heads and channels, ``unstructured`` weights,
            ``2:4`` weights; or ``none``.
        name: as a user spells it.
        rule, running: of cache pruning.
        pruning: of weights.
    """

    family: str
    name: str
    rule: CacheRule | None = None
    running: bool = True
    pruning: WeightPruning | None = None

    def at(self, share: float) -> bool:
        """Whether the method can prune this share."""
        return self.family != "2:4" or share == 0.5

    def speed_kind(self, share: float) -> str | None:
        """What the exported graph's speed depends on; None where a graph is as the unpruned one."""
        if self.family == "none":
            return "none"
        if self.family == "structured":
            return f"structured/{share}"
        if self.rule is None:
            return None
        signal = signal_of(CachePolicy(rule=self.rule, running=self.running))
        return f"cache/{signal or 'fixed'}/{share}"


def _weights(family: str) -> list[Method]:
    chosen = {
        "random": ("random", "ignore"),
        "magnitude": ("magnitude", "ignore"),
        "wanda": ("wanda", "ignore"),
        "sparsegpt": ("sparsegpt", "ignore"),
        "ar-preserve": ("wanda", "preserve"),
        "sink-wanda": ("wanda", "global"),
        "sink-wanda-layer": ("wanda", "layer"),
        "sink-sparsegpt": ("sparsegpt", "global"),
    }
    return [
        Method(family, name, pruning=WeightPruning(method=method, sinks=sinks))  # type: ignore[arg-type]
        for name, (method, sinks) in chosen.items()
    ]


#: Every method, the unpruned model first.
METHODS: tuple[Method, ...] = (
    Method("none", "unpruned"),
    *(Method("cache", rule.value, rule) for rule in reversed(CacheRule)),
    Method("cache", "keep-stable-static", CacheRule.KEEP_STABLE, running=False),
    *(method for family in ("structured", "unstructured", "2:4") for method in _weights(family)),
)

#: The sink-aware method of each family, which the others are tested against.
SINK_AWARE = {
    "cache": "keep-stable",
    "structured": "sink-wanda",
    "unstructured": "sink-wanda",
    "2:4": "sink-wanda",
}

COLUMNS = (
    "family",
    "method",
    "share",
    "problems",
    "solved",
    "accuracy",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
    "p_value",
    "kl",
    "speed_up",
    "size_bytes",
)


@dataclass(frozen=True)
class BaselineRow:
    """One method at one share.

    Attributes:
        family, method: see `Method`.
        share: share that was pruned.
        correct: for each test problem, in their order, 1 if solved; empty where none were asked.
        kl: from the unpruned model, nats per masked position.
        size_bytes: of the layers' linears, zeros left out where that is smaller.
        speed_up: measured time of the unpruned export over this one's; None where none was timed.
    """

    family: str
    method: str
    share: Annotated[float, Field(ge=0.0, lt=1.0)]
    correct: Annotated[str, Field(pattern=r"^[01]*$")]
    kl: Annotated[float, Field(allow_inf_nan=False)]
    size_bytes: Annotated[int, Field(ge=0, le=1 << 53)]
    speed_up: float | None = None

    @property
    def solved(self) -> int:
        """Test problems solved."""
        return self.correct.count("1")

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the share solved."""
        return wilson(self.solved, len(self.correct))

    def timed(self, speeds: Mapping[str, float]) -> BaselineRow:
        """The row with the measured speed-up of graphs like its own."""
        kinds = (
            m.speed_kind(self.share)
            for m in METHODS
            if (m.family, m.name) == (self.family, self.method)
        )
        kind = next(kinds, None)
        return self if kind is None else replace(self, speed_up=speeds.get(kind))

    def against(self, other: BaselineRow) -> Comparison:
        """This row and another on the same problems."""
        first, second = ([bit == "1" for bit in row.correct] for row in (self, other))
        return compare(first, second)


def write_baselines(rows: Sequence[BaselineRow], out: Path) -> list[BaselineRow]:
    """Write ``baselines.csv``, ``baselines.md`` and ``baselines.png``; the rows, in the methods' order."""
    order = {(method.family, method.name): index for index, method in enumerate(METHODS)}
    rows = sorted(rows, key=lambda row: (order[row.family, row.method], row.share, not row.correct))
    with whole_files(out) as fresh:
        with (fresh / "baselines.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(documents(rows))
        (fresh / "baselines.md").write_text(markdown(rows), encoding="utf-8")
        draw_baselines(rows, fresh / "baselines.png")
    return rows


def documents(rows: Sequence[BaselineRow]) -> list[dict[str, Any]]:
    """The rows as plain data, each tested against the sink-aware one of its family and share."""
    return [_document(row, sink_aware_of(row, rows)) for row in rows]


def sink_aware_of(row: BaselineRow, rows: Sequence[BaselineRow]) -> BaselineRow | None:
    """The row that a row is tested against: other than itself, on as many problems."""
    name = SINK_AWARE.get(row.family)
    for other in rows:
        same = (other.family, other.share, len(other.correct)) == (
            row.family,
            row.share,
            len(row.correct),
        )
        if same and other.method == name != row.method and row.correct:
            return other
    return None


def _document(row: BaselineRow, sink_aware: BaselineRow | None) -> dict[str, Any]:
    record: dict[str, Any] = dict.fromkeys(COLUMNS)
    record |= {key: value for key, value in asdict(row).items() if key in COLUMNS}
    record["problems"] = len(row.correct)
    if row.correct:
        low, high = row.interval
        record |= {"solved": row.solved, "low": low, "high": high}
        record["accuracy"] = row.solved / len(row.correct)
    if sink_aware is not None:
        found = sink_aware.against(row)
        record |= {"difference": found.difference, "p_value": found.p_value}
        record["difference_low"], record["difference_high"] = found.interval
    return record


def markdown(rows: Sequence[BaselineRow]) -> str:
    """The rows that were answered for, as a table; and what its columns mean."""
    head = (
        "| pruned | method | share | exact match (95 %) | sink-aware is better by (95 %) | p | KL | "
        "speed-up | size, MB |\n|---|---|---|---|---|---|---|---|---|\n"
    )
    lines = []
    for record in documents([row for row in rows if row.correct]):
        span = _percents(record["low"], record["high"])
        cells = [
            record["family"],
            record["method"],
            f"{record['share']:.0%}",
            f"{100 * record['accuracy']:.1f} % ({span})",
            "" if record["difference"] is None else _difference(record),
            "" if record["p_value"] is None else f"{record['p_value']:.2g}",
            f"{record['kl']:z.3f}",
            "" if record["speed_up"] is None else f"{record['speed_up']:.2f} ×",
            f"{record['size_bytes'] / 1e6:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |\n")
    return head + "".join(lines)


def _difference(record: Mapping[str, Any]) -> str:
    span = _percents(record["difference_low"], record["difference_high"])
    return f"{100 * record['difference']:+z.1f} points ({span})"


def _percents(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f}"


def draw_baselines(rows: Sequence[BaselineRow], path: Path) -> None:
    """KL by pruned share, one line a method, one panel a family; exact match below it.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError('pictures need matplotlib: pip install "hwsearch[report]"') from error
    families = [f for f in SINK_AWARE if any(row.family == f for row in rows)]
    if not families:
        return
    figure = Figure(figsize=(4.2 * len(families), 6.8), dpi=130, layout="constrained")
    grid = figure.subplots(2, len(families), squeeze=False)
    for (kl, accuracy), family in zip(grid.T, families, strict=True):
        names = list(dict.fromkeys(row.method for row in rows if row.family == family))
        for index, name in enumerate(names):
            some = [row for row in rows if (row.family, row.method) == (family, name)]
            style = {
                "color": colormaps["tab10"](index),
                "lw": 2.5 if name == SINK_AWARE[family] else 1.2,
            }
            best = sorted({row.share: row.kl for row in some}.items())
            kl.plot(*zip(*best, strict=True), "o-", ms=3, label=name, **style)
            answered = sorted((row for row in some if row.correct), key=lambda row: row.share)
            if answered:
                _errorbar(accuracy, answered, index, style)
        kl.set(title=family, ylabel="KL (nats per masked position)", yscale="log")
        accuracy.set(xlabel="pruned share", ylabel="exact match", ylim=(0, 1))
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncol": 3}
        accuracy.legend(*kl.get_legend_handles_labels(), frameon=False, fontsize=7, **below)
        for axes in (kl, accuracy):
            axes.grid(alpha=0.3)
    figure.savefig(path)


def _errorbar(axes: Any, rows: Sequence[BaselineRow], index: int, style: Mapping[str, Any]) -> None:
    """Accuracies with their intervals, methods set a little apart."""
    shares = [row.share + 0.004 * (index - 4) for row in rows]
    values = [row.solved / len(row.correct) for row in rows]
    below = [value - row.interval.low for value, row in zip(values, rows, strict=True)]
    above = [row.interval.high - value for value, row in zip(values, rows, strict=True)]
    axes.errorbar(shares, values, yerr=(below, above), fmt="o-", ms=3, capsize=2, **style)
