"""Every loss and the exact match of the same plans: which loss ranks plans as accuracy does?

    python studies/proxies/run.py --model gsm-mini --plans 40 --problems 160

writes one row a plan and proxy to losses.csv and the plans to plans.jsonl, as they are finished; a
run that was cut off goes on where it stopped. `hwsearch proxies` prints the table.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np

from hwsearch.compression import WeightBank, compress
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.plan import CompressionPlan
from hwsearch.report.proxies import COLUMNS
from hwsearch.sinks import SinkProfile, calibrate_sinks
from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.evaluation import evaluate
from hwsearch.tasks.losses import LOSSES, Loss, make_loss
from hwsearch.tasks.problem import Problem
from hwsearch.tasks.task import GSM_MINI

#: Lower than a search would offer: formats alone hardly change what gsm-mini answers, and plans of
#: equal accuracy cannot be ranked by anything.
THRESHOLDS = (1.0, 0.5, 0.25, 0.15, 0.1, 0.05)


def main() -> None:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    run(
        load_denoiser(options.model, device=options.torch_device),
        TaskChoice().calibration_problems(options.calibration),
        GSM_MINI.problems("validation", options.problems, options.seed),
        options.plans,
        options.seed,
        options.out,
    )


def run(
    denoiser: Denoiser,
    calibration: list[Problem],
    validation: list[Problem],
    plans: int,
    seed: int,
    out: Path,
) -> None:
    """Measure plans that `out` does not hold yet."""
    sinks = calibrate_sinks(denoiser, [problem.question for problem in calibration])
    proxies = [make_loss(name, denoiser, calibration) for name in LOSSES]
    bank, table = WeightBank(denoiser), out / "losses.csv"
    done = finished(table)
    for index, plan in enumerate(draw_plans(denoiser.num_layers, plans, seed)):
        if index in done:
            continue
        rows = measure(denoiser, bank, sinks, proxies, plan, validation)
        with (out / "plans.jsonl").open("a", encoding="utf-8") as file:
            file.write(plan.model_dump_json() + "\n")
        new = not table.exists()
        with table.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerows({"plan": index, **row} for row in rows)
        print(f"plan {index + 1} of {plans}: {rows[0]['solved']} of {len(validation)}", flush=True)


def measure(
    denoiser: Denoiser,
    bank: WeightBank,
    sinks: SinkProfile,
    proxies: list[Loss],
    plan: CompressionPlan,
    validation: list[Problem],
) -> list[dict[str, object]]:
    """One row for each proxy."""
    network, shares = compress(denoiser, plan, bank).network, sinks.kept_shares(plan)
    score = evaluate(backend_of(network, shares), denoiser, validation).score
    rows = []
    for proxy in proxies:
        began = time.perf_counter()
        loss = proxy.loss(network, shares)
        rows.append(
            {
                "proxy": proxy.name,
                "loss": f"{loss:.8g}",
                "cost_passes": f"{proxy.cost:.2f}",
                "seconds": f"{time.perf_counter() - began:.4f}",
                "solved": score.solved,
                "problems": len(validation),
            }
        )
    return rows


def draw_plans(num_layers: int, count: int, seed: int) -> list[CompressionPlan]:
    """Plans from nearly uncompressed to compressed everywhere.

    Each plan compresses any of its choices with a chance of its own, stratified over 0..1, so
    that their accuracies spread and not only their noise.
    """
    rng = np.random.default_rng(seed)
    space = SearchSpace(num_layers=num_layers, thresholds=THRESHOLDS)
    parameters = space.parameters()
    chances = (rng.permutation(count) + rng.random(count)) / count
    return [
        space.plan(
            {
                name: choices[rng.integers(1, len(choices))]
                if rng.random() < chance
                else choices[0]
                for name, choices in parameters.items()
            }
        )
        for chance in chances
    ]


def finished(table: Path) -> set[int]:
    """Plans whose rows are all in the table."""
    if not table.exists():
        return set()
    with table.open(newline="", encoding="utf-8") as file:
        numbers = [int(row["plan"]) for row in csv.DictReader(file)]
    return {number for number in numbers if numbers.count(number) == len(LOSSES)}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gsm-mini")
    parser.add_argument("--torch-device", default="cpu")
    parser.add_argument("--plans", type=int, default=40)
    parser.add_argument("--problems", type=int, default=160, help="validation problems a plan")
    parser.add_argument("--calibration", type=int, default=32, help="problems behind each loss")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    return parser.parse_args()


if __name__ == "__main__":
    main()
