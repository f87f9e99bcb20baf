"""How well estimates from backward passes rank single choices of a format, beside measured losses.

    python studies/sensitivities/run.py gsm-mini
    python -m tests.smollm2 --download; python studies/sensitivities/run.py smollm2 --questions 16
    python studies/sensitivities/run.py gsm-mini --report

Every choice of a format in a layer's attention, its mlp or the head is made alone and its loss is
measured; each is a row of MODEL.csv, kept so that a run that is cut off goes on. Estimates are made with
one, two and four random directions, three seeds each. What is printed for each: Spearman's rank
correlation with the measured losses, the standard deviation of the logarithm of their ratio, and what
the estimates cost, in evaluations of the loss. SmolLM2 is read from left to right, on GSM8K's solved
problems where HWSEARCH_GSM8K names their folder, else on gsm-mini's.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hwsearch.compression import WeightBank, compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.plan import CompressionPlan, WeightFormat
from hwsearch.study.sensitivities import Sensitivities, measure_sensitivities
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses import make_loss
from hwsearch.tasks.losses.loss import DivergenceLoss
from tests.smollm2 import FILE

HERE = Path(__file__).parent
FORMATS = (WeightFormat.W8A8, WeightFormat.W8, WeightFormat.W4)
DRAWS, SEEDS = (1, 2, 4), 3
Choice = tuple[int | None, str, WeightFormat]


def subject(name: str, questions: int) -> tuple[Denoiser, DivergenceLoss]:
    """The model and its loss."""
    task = TaskChoice()
    if name == "gsm-mini":
        denoiser = load_denoiser(name)
    else:
        if not FILE.is_file():
            sys.exit(f"{FILE} is not there; python -m tests.smollm2 --download fetches it")
        denoiser = load_denoiser(FILE, causal=True)
        if path := os.environ.get("HWSEARCH_GSM8K"):
            task = TaskChoice(task="gsm8k", task_path=path, num_shots=0)
    problems = task.calibration_problems(questions)
    loss = make_loss("kl", task.asking(denoiser), problems)
    assert isinstance(loss, DivergenceLoss)
    return denoiser, loss


def singles(layers: int) -> Iterator[tuple[Choice, CompressionPlan]]:
    """Every single choice, and the plan that makes it alone."""
    plain = CompressionPlan.uniform(layers)
    for fmt in FORMATS:
        yield (None, "head", fmt), plain.model_copy(update={"head": fmt})
        for layer in range(layers):
            for group in ("attention", "mlp"):
                changed = list(plain.layers)
                changed[layer] = changed[layer].model_copy(update={group: fmt})
                yield (layer, group, fmt), plain.model_copy(update={"layers": tuple(changed)})


def words(choice: Choice) -> tuple[str, str, str]:
    """A choice as the first cells of its row."""
    layer, group, fmt = choice
    return "" if layer is None else str(layer), group, fmt.value


def measured(path: Path, denoiser: Denoiser, loss: DivergenceLoss) -> dict[Choice, float]:
    """Measured losses, those that the file knows among them."""
    known: dict[tuple[str, str, str], float] = {}
    if path.exists():
        with path.open(newline="") as file:
            known = {
                (row["layer"], row["group"], row["format"]): float(row["measured_nats"])
                for row in csv.DictReader(file)
            }
    kept, found = KeptShares.keeping_all(denoiser.num_layers), {}
    for choice, plan in singles(denoiser.num_layers):
        cells = words(choice)
        if cells not in known:
            # a bank of its own a plan: what was rounded is not needed again
            network = compress(denoiser, plan, WeightBank(denoiser)).network
            known[cells] = loss.loss(network, kept)
            write(path, {**found, choice: known[cells]}, None)
        found[choice] = known[cells]
    return found


def write(path: Path, losses: dict[Choice, float], estimated: Sensitivities | None) -> None:
    """The table, estimates beside what was measured."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["layer", "group", "format", "measured_nats", "estimated_nats"])
        for choice, nats in losses.items():
            estimate = "" if estimated is None else f"{estimated.of(*choice):.6e}"
            table.writerow([*words(choice), f"{nats:.6e}", estimate])


def agreement(losses: dict[Choice, float], estimated: Sensitivities) -> tuple[float, float, float]:
    """Spearman's rank correlation, median ratio and spread of the ratio's logarithm."""
    real = np.array(list(losses.values()))
    guess = np.array([estimated.of(*choice) for choice in losses], dtype=float)
    ratio = np.log(guess / np.maximum(real, 1e-12))
    return (
        float(spearmanr(real, guess).statistic),
        float(np.exp(np.median(ratio))),
        float(ratio.std()),
    )


def report(path: Path) -> None:
    """What the table says of the estimates in it."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["estimated_nats"]]
    real, guess = (
        np.array([float(row[name]) for row in rows]) for name in ("measured_nats", "estimated_nats")
    )
    print(f"{path.name}: {len(rows)} choices, Spearman {spearmanr(real, guess).statistic:.3f}")


def main() -> None:
    """Measure, estimate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=["gsm-mini", "smollm2"])
    parser.add_argument("--questions", type=int, default=96)
    parser.add_argument("--report", action="store_true", help="run nothing")
    args = parser.parse_args()
    path = HERE / f"{args.model}.csv"
    if args.report:
        report(path)
        return
    denoiser, loss = subject(args.model, args.questions)
    losses = measured(path, denoiser, loss)
    print("draws seed   cost in evaluations   Spearman   median ratio   spread of its logarithm")
    for draws in DRAWS:
        for seed in range(SEEDS):
            found = measure_sensitivities(denoiser.network, loss, FORMATS, draws=draws, seed=seed)
            rank, ratio, spread = agreement(losses, found)
            cost = found.passes / loss.cost
            print(f"{draws:5} {seed:4} {cost:21.1f} {rank:10.3f} {ratio:14.2f} {spread:25.2f}")
            if (draws, seed) == (2, 0):
                write(path, losses, found)
    report(path)


if __name__ == "__main__":
    main()
