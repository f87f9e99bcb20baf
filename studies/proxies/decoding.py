"""Prices of decoding and the exact match of the same plans: which price ranks decodings as accuracy does?

    python studies/proxies/decoding.py measure    # decodes; minutes to an hour
    python studies/proxies/decoding.py score      # every price on the texts that were written
    python studies/proxies/decoding.py table      # rank correlations

`measure` draws plans of gsm-mini that vary decoding and compression, and writes a line a plan to
decoding.jsonl as it is finished: exact match on validation problems, KL on frozen states, and the
tokens written for calibration problems. A run that was cut off goes on where it stopped. `score` writes
decoding.csv, one row a plan and price, which `hwsearch proxies` reads as well.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hwsearch.compression import WeightBank
from hwsearch.compression.pruning.answers import own_calibration
from hwsearch.compression.workbench import Workbench
from hwsearch.decoding.sampler import Generation
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.latency.devices.environment import this_machine
from hwsearch.plan import CompressionPlan
from hwsearch.report.proxies import COLUMNS, Ranking, careful, rank
from hwsearch.sinks import calibrate_sinks
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.evaluation import evaluate
from hwsearch.tasks.losses import make_loss
from hwsearch.tasks.losses.pricing import Decoded, DecodedProblem, DecodedProblems
from hwsearch.tasks.losses.pricing.answers import AnswerAgreement, ExactMatch, SequentialMatch
from hwsearch.tasks.losses.pricing.catalog import READINGS, VIEWS
from hwsearch.tasks.losses.pricing.scores import TextScorer
from hwsearch.tasks.problem import Problem
from hwsearch.tasks.task import GSM_MINI

STOP: dict[str, Any] = {"stop_at_end": True}
ADVANCE: dict[str, Any] = {"window": {"advance": True}}


def _commit(policy: str, **fields: Any) -> dict[str, Any]:
    return {"commit": {"policy": policy, **fields}} | STOP


#: What each decoding changes of the makers'.
POLICIES: dict[str, dict[str, Any]] = {
    "makers": {},
    "makers, stop": STOP,
    **{
        f"threshold {t}": _commit("threshold", threshold=t) for t in (0.95, 0.9, 0.8, 0.7, 0.5, 0.3)
    },
    **{
        f"threshold {t}, advance": _commit("threshold", threshold=t) | ADVANCE
        for t in (0.9, 0.7, 0.5)
    },
    "factor": _commit("factor") | ADVANCE,
    "decaying": _commit("decaying-threshold") | ADVANCE,
    "entropy": _commit("entropy-bound") | ADVANCE,
    "kl-stable": _commit("kl-stable") | ADVANCE,
    "credit": _commit("credit") | ADVANCE,
    "hierarchy": _commit("hierarchy") | ADVANCE,
    **{
        f"threshold {t}, block {b}": _commit("threshold", threshold=t) | {"block_length": b}
        for t, b in ((0.9, 8), (0.7, 12), (0.9, 24), (0.7, 48), (0.9, 48))
    },
}

#: A layer's fields and the head's, where all layers are alike.
UNIFORM: dict[str, dict[str, Any]] = {
    "fp32": {},
    **{fmt: {"attention": fmt, "mlp": fmt, "head": fmt} for fmt in ("w8a8", "w8", "w4")},
    "w4 mlp": {"mlp": "w4"},
    "sinks .5": {"sink_threshold": 0.5},
    "sinks .25": {"sink_threshold": 0.25},
    "sinks .1, w8a8": {"sink_threshold": 0.1, "attention": "w8a8", "mlp": "w8a8"},
    "channels 800": {"kept_channels": 800},
    "channels 704": {"kept_channels": 704},
    "heads 4": {"kept_heads": 4},
}

#: One-policy grids: the order of KL within each must stay.
GRID_POLICIES = ("threshold 0.9", "threshold 0.5", "threshold 0.7, advance")
GRID = ("fp32", "w8a8", "w4", "w4 mlp", "sinks .25", "channels 800", "mixed 0", "mixed 1")
MAKERS = (("makers, stop", "fp32"), ("makers, stop", "w4"))


#: Views of a pass a token, which are scored on the fewest problems only.
DEAR = ("pass", "loo")

#: Readings of all views; the best view is read in every way.
PER_TOKEN = ("surprise", "regret")


@dataclass(frozen=True)
class Named:
    """A plan, and what it is made of."""

    policy: str
    compression: str
    plan: CompressionPlan


def plans(denoiser: Denoiser, drawn: int, seed: int) -> list[Named]:
    """Grid, every policy uncompressed, random pairs; shuffled, so that any first part is a sample."""
    rng = np.random.default_rng(seed)
    pairs = {(policy, name) for policy in GRID_POLICIES for name in GRID}
    pairs |= {(policy, "fp32") for policy in POLICIES if "makers" not in policy}
    parallel = [name for name in POLICIES if "makers" not in name]
    names = [*UNIFORM, *(f"mixed {index}" for index in range(8))]
    while len(pairs) < len(GRID_POLICIES) * len(GRID) + len(parallel) - 3 + drawn:
        pairs.add((str(rng.choice(parallel)), str(rng.choice(names))))
    order = sorted(pairs)
    order = [order[index] for index in rng.permutation(len(order))]
    for index, pair in enumerate(MAKERS):
        order.insert(8 + 12 * index, pair)
    return [Named(*pair, plan_of(denoiser, *pair)) for pair in order]


def plan_of(denoiser: Denoiser, policy: str, compression: str) -> CompressionPlan:
    """A policy with a compression; ``mixed N`` draws each layer's with seed N."""
    decoding = denoiser.decoding.changed(POLICIES[policy]).model_dump()
    if compression in UNIFORM:
        return CompressionPlan.uniform(
            denoiser.num_layers, decoding=decoding, **UNIFORM[compression]
        )
    rng = np.random.default_rng(int(compression.split()[1]))
    chance = rng.random()

    def drawn(choices: list[Any]) -> Any:
        return choices[rng.integers(1, len(choices))] if rng.random() < chance else choices[0]

    formats = ["fp32", "w8a8", "w8", "w4"]
    layers = [
        {
            "attention": drawn(formats),
            "mlp": drawn(formats),
            "sink_threshold": drawn([1.0, 0.5, 0.25, 0.1]),
        }
        for _ in range(denoiser.num_layers)
    ]
    return CompressionPlan.validate(
        {"layers": layers, "head": drawn(formats), "decoding": decoding}
    )


def measure(out: Path, drawn: int, asked: int, calibration: int, seed: int) -> None:
    """Decode plans that `out` does not hold yet."""
    print(this_machine())
    denoiser = load_denoiser("gsm-mini")
    questions = [problem.question for problem in TaskChoice().calibration_problems()]
    bank = WeightBank(denoiser, own_calibration(denoiser, questions[:16]))
    bench = Workbench(denoiser, calibrate_sinks(denoiser, questions[:16]), bank)
    kl = make_loss("kl", denoiser, TaskChoice().calibration_problems())
    judge = DecodedProblems(denoiser, TaskChoice().calibration_problems(calibration))
    validation = GSM_MINI.problems("validation", asked, seed)
    table = out / "decoding.jsonl"
    finished = {row["plan"]: row for row in records(table)}
    losses = {
        row["compression"]: (row["kl"], row["kl_seconds"])
        for row in finished.values()
        if "kl" in row
    }
    todo = plans(denoiser, drawn, seed)
    if "reference" not in finished:
        append(table, {"plan": "reference", "rows": rows_of(judge.reference)})
    for index, named in enumerate(todo):
        if index in finished:
            continue
        network, kept = bench.network(named.plan)
        if named.compression not in losses:  # it does not look at how text is decoded
            began = time.perf_counter()
            loss = kl.loss(network, kept)
            losses[named.compression] = loss, time.perf_counter() - began
        loss, kl_seconds = losses[named.compression]
        began = time.perf_counter()
        decoded = judge.decoded(network, kept, named.plan.decoding)
        seconds = time.perf_counter() - began
        found = evaluate(
            backend_of(network, kept), denoiser, validation, decoding=named.plan.decoding
        )
        row: dict[str, Any] = {
            "plan": index,
            "policy": named.policy,
            "compression": named.compression,
            "document": named.plan.model_dump(mode="json"),
            "kl": loss,
            "kl_seconds": kl_seconds,
            "kl_passes": kl.cost,
            "decode_seconds": seconds,
            "decode_passes": decoded.cost,
            "solved": [int(right) for right in found.score.correct],
            "mean_passes": sum(found.mean_passes.values()),
            "rows": rows_of(decoded),
        }
        append(table, row)
        print(
            f"{index + 1} of {len(todo)}: {named.policy} / {named.compression}: KL {loss:z.5f}, "
            f"exact match {found.accuracy:.3f}, {row['mean_passes']:.1f} passes, "
            f"{seconds:.1f} + {found.seconds:.1f} s",
            flush=True,
        )


def rows_of(decoded: Decoded) -> list[list[list[int]]]:
    """Tokens of each problem, prompt included, and the passes that wrote them."""
    return [
        [problem.found.tokens[problem.row].tolist(), problem.written.tolist()]
        for problem in decoded.problems
    ]


def append(table: Path, row: dict[str, Any]) -> None:
    with table.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def records(table: Path) -> Iterator[dict[str, Any]]:
    """Finished plans."""
    if table.exists():
        for line in table.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


class Read:
    """Texts that `measure` wrote, as values again."""

    def __init__(self, denoiser: Denoiser, problems: list[Problem]) -> None:
        self.judge = DecodedProblems(denoiser, problems)

    def decoded(self, row: dict[str, Any], count: int) -> Decoded:
        """The first problems of a record."""
        found = []
        for tokens, written in row["rows"][: min(count, len(self.judge.prompts))]:
            generation = Generation(np.array([tokens]), np.array([written]), ())
            found.append(DecodedProblem.of(generation, 0, self.judge.ends))
        return Decoded(self.judge.denoiser.decoding, tuple(found))


def score(out: Path, views: list[str], counts: list[int]) -> None:
    """Every price of every record, to decoding.csv."""
    denoiser = load_denoiser("gsm-mini")
    rows = list(records(out / "decoding.jsonl"))
    reference = next(row for row in rows if row["plan"] == "reference")
    rows = [row for row in rows if row["plan"] != "reference"]
    found: list[dict[str, Any]] = [
        line(row, "kl", row["kl"], row["kl_passes"], row["kl_seconds"]) for row in rows
    ]
    for count in counts:
        found += by_answers(denoiser, rows, reference, count)
    for view in views:
        fewest = [min(counts)] if view in DEAR else counts
        found += by_view(denoiser, rows, reference, view, fewest)
        print(f"scored {view}", flush=True)
    losses = {row["plan"]: row for row in rows}
    sums = [
        item
        | {
            "proxy": f"kl + {item['proxy']}",
            "loss": item["loss"] + losses[item["plan"]]["kl"],
            "cost_passes": item["cost_passes"] + losses[item["plan"]]["kl_passes"],
            "seconds": item["seconds"] + losses[item["plan"]]["kl_seconds"],
        }
        for item in found
        if item["proxy"] != "kl"
    ]
    with (out / "decoding.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*COLUMNS, "policy", "compression"])
        writer.writeheader()
        writer.writerows(
            item | {"loss": f"{item['loss']:.8g}", "seconds": f"{item['seconds']:.3f}"}
            for item in [*found, *sums]
        )


def line(
    row: dict[str, Any], proxy: str, loss: float, work: float, seconds: float
) -> dict[str, Any]:
    """A row of the table."""
    return {
        "plan": row["plan"],
        "proxy": proxy,
        "loss": loss,
        "cost_passes": round(work, 1),
        "seconds": seconds,
        "solved": sum(row["solved"]),
        "problems": len(row["solved"]),
        "policy": row["policy"],
        "compression": row["compression"],
    }


def by_answers(
    denoiser: Denoiser, rows: list[dict[str, Any]], reference: dict[str, Any], count: int
) -> list[dict[str, Any]]:
    """Prices by final answers, and exact match left off early."""
    read = Read(denoiser, TaskChoice().calibration_problems(count))
    read.judge.reference = read.decoded(reference, count)  # made by `measure`
    agreement, match = AnswerAgreement(read.judge), ExactMatch(read.judge)
    texts = AnswerAgreement(read.judge, None)
    own = match.solved(read.judge.reference)
    early = SequentialMatch(bound=sum(own) / len(own) - 0.05)
    found = []
    for row in rows:
        decoded = read.decoded(row, count)
        share = count / len(row["rows"])
        work, seconds = row["decode_passes"] * share, row["decode_seconds"] * share
        solved = match.solved(decoded)
        seen = early.count(solved)
        found += [
            line(row, f"answers {count}", agreement.price(decoded), work, seconds),
            line(row, f"texts {count}", texts.price(decoded), work, seconds),
            line(row, f"exact-match {count}", match.price(decoded), work, seconds),
            line(
                row,
                f"sequential {count}",
                sum(own) / len(own) - sum(solved[:seen]) / seen,
                work * seen / count,
                seconds * seen / count,
            ),
        ]
    return found


def by_view(
    denoiser: Denoiser,
    rows: list[dict[str, Any]],
    reference: dict[str, Any],
    view: str,
    counts: list[int],
) -> list[dict[str, Any]]:
    """Prices by the probability of texts, in one view."""
    most = max(counts)
    read = Read(denoiser, TaskChoice().calibration_problems(most))
    scorer = TextScorer(denoiser, VIEWS[view])
    own = scorer.scores(read.decoded(reference, most))
    readings = READINGS if view == "chain" else {name: READINGS[name] for name in PER_TOKEN}
    found = []
    for row in rows:
        decoded = read.decoded(row, most)
        began, before = time.perf_counter(), scorer.passes
        texts = scorer.scores(decoded)
        seconds, passes = time.perf_counter() - began, scorer.passes - before
        for count in counts:
            decode = count / len(row["rows"])
            for name, reading in readings.items():
                found.append(
                    line(
                        row,
                        f"{view}-{name} {count}",
                        reading(texts[:count]) - reading(own[:count]),
                        row["decode_passes"] * decode + passes * count / most,
                        row["decode_seconds"] * decode + seconds * count / most,
                    )
                )
    return found


def table(out: Path, within: float) -> None:
    """Rank correlations over all plans, over those near the best, and within policies."""
    frame = pd.read_csv(out / "decoding.csv")
    best = float((frame["solved"] / frame["problems"]).max())
    print(f"{frame['plan'].nunique()} plans; the best solves {best:.3f}\n\nAll plans")
    show(rank(frame))
    near = careful(frame, best - within)
    print(f"\nThe {near['plan'].nunique()} plans within {within:.0%} of the best")
    show(rank(near))
    print("\nWithin a policy: Spearman of a proxy with KL, mean over policies of 6 plans or more")
    print(order_within(frame).to_string(float_format="{:.3f}".format))


def show(rankings: list[Ranking]) -> None:
    for one in rankings:
        low, high = one.spearman_interval
        klow, khigh = one.kendall_interval
        blow, bhigh = one.behind_interval
        print(
            f"{one.proxy:28} {one.cost_passes:7.0f} passes {one.seconds:6.2f} s  Spearman "
            f"{one.spearman:.3f} ({low:.3f} to {high:.3f})  Kendall {one.kendall:.3f} "
            f"({klow:.3f} to {khigh:.3f})  behind {blow:.3f} to {bhigh:.3f}"
        )


def order_within(frame: pd.DataFrame) -> pd.Series[float]:
    """How well each proxy keeps the order that KL gives plans of one policy, and so accuracy does."""
    wide = frame.pivot(index=["policy", "plan"], columns="proxy", values="loss")
    groups = [rows for _, rows in wide.groupby("policy") if len(rows) >= 6]
    found = [rows.corr(method="spearman")["kl"] for rows in groups]
    mean: pd.Series[float] = pd.concat(found, axis=1).mean(axis=1).sort_values(ascending=False)
    return mean


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("measure", "score", "table"))
    parser.add_argument("--drawn", type=int, default=20, help="random pairs beside the grid")
    parser.add_argument("--problems", type=int, default=500, help="validation problems a plan")
    parser.add_argument("--calibration", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--views", nargs="+", default=list(VIEWS), choices=list(VIEWS))
    parser.add_argument("--within", type=float, default=0.05, help="of the best accuracy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.stage == "measure":
        most = max(options.calibration)
        measure(options.out, options.drawn, options.problems, most, options.seed)
    elif options.stage == "score":
        score(options.out, options.views, options.calibration)
    else:
        table(options.out, options.within)


if __name__ == "__main__":
    main()
