"""How well estimates from backward passes rank single choices, beside measured losses.

    python studies/sensitivities/run.py gsm-mini
    python -m tests.smollm2 --download; python studies/sensitivities/run.py smollm2 --questions 16
    python studies/sensitivities/run.py gsm-mini --report

Every choice of a format in a layer's attention, its mlp or the head, and of a sink threshold or a
smaller size of a layer, is made alone and its loss is measured; each is a row of
MODEL.csv, kept so that a run that is cut off goes on. Estimates are made with one, two and four random
directions, three seeds each. What is printed for each: Spearman's rank correlation with the measured
losses, the standard deviation of the logarithm of their ratio, and what the estimates cost, in
evaluations of the loss; then, for what searches do, formats, thresholds and sizes apart. SmolLM2 is read
from left to right, on GSM8K's solved problems where HWSEARCH_GSM8K names their folder, else on gsm-mini's.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hwsearch.compression import WeightBank, compress
from hwsearch.compression.pruning import own_calibration
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.plan import CompressionPlan, WeightFormat
from hwsearch.sinks import SinkProfile, calibrate_sinks
from hwsearch.study.choices.search_space import THRESHOLDS, SearchSpace
from hwsearch.study.sensitivities import (
    PruningChoices,
    Sensitivities,
    SmallerLayers,
    measure_sensitivities,
)
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses import make_loss
from hwsearch.tasks.losses.loss import DivergenceLoss
from tests.smollm2 import FILE

HERE = Path(__file__).parent
FORMATS = (WeightFormat.W8A8, WeightFormat.W8, WeightFormat.W4)
DRAWS, SEEDS = (1, 2, 4), 3
THRESHOLD, SINK_QUESTIONS = "sink_threshold", 32
SIZES = ("kept_heads", "kept_channels")
Choice = tuple[int | None, str, WeightFormat | float | int]


@dataclass(frozen=True)
class Subject:
    """A model, its loss and, where it caches anything, its sinks and sizes that its layers may have."""

    denoiser: Denoiser
    loss: DivergenceLoss
    sinks: SinkProfile
    smaller: SmallerLayers | None = None

    @property
    def space(self) -> SearchSpace:
        """All choices: an autoregressive model drops no position."""
        thresholds = (1.0,) if self.denoiser.is_causal else THRESHOLDS
        return SearchSpace(
            num_layers=self.denoiser.num_layers, thresholds=thresholds, formats=FORMATS
        )

    def singles(self) -> Iterator[tuple[Choice, CompressionPlan]]:
        """Every single choice, and the plan that makes it alone."""
        plain = CompressionPlan.uniform(self.denoiser.num_layers)
        for fmt in FORMATS:
            yield (None, "head", fmt), plain.model_copy(update={"head": fmt})
        fields = product(("attention", "mlp"), FORMATS)
        dropping = [(THRESHOLD, threshold) for threshold in self.space.thresholds if threshold < 1]
        known = {} if self.smaller is None else self.smaller.sizes
        sizes = [(field, count) for field, counts in known.items() for count in counts]
        for (field, value), layer in product(
            [*fields, *dropping, *sizes], range(len(plain.layers))
        ):
            changed = list(plain.layers)
            changed[layer] = changed[layer].model_copy(update={field: value})
            yield (layer, field, value), plain.model_copy(update={"layers": tuple(changed)})

    def estimated(self, draws: int, seed: int) -> Sensitivities:
        """Estimates of all of them."""
        return measure_sensitivities(
            self.denoiser.network,
            self.loss,
            FORMATS,
            pruning=PruningChoices(self.space.dropping(self.sinks), self.smaller),
            draws=draws,
            seed=seed,
        )

    def bank(self, plan: CompressionPlan) -> WeightBank:
        """One of its own for a plan, so that nothing rounded stays; but what prunes is calibrated once."""
        if any(layer.prunes for layer in plan.layers):
            assert self.smaller is not None
            return self.smaller.bank
        return WeightBank(self.denoiser)


def subject(name: str, questions: int) -> Subject:
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
    if denoiser.is_causal:
        return Subject(denoiser, loss, SinkProfile.keeping_all(denoiser.num_layers))
    asked, g = task.calibration_questions(), denoiser.geometry
    bank = WeightBank(denoiser, own_calibration(denoiser, asked[:questions]))
    sizes = {
        "kept_heads": (g.heads_of(0.8), g.heads_of(0.6)),
        "kept_channels": (g.channels_of(0.75), g.channels_of(0.5)),
    }
    sinks = calibrate_sinks(denoiser, asked[:SINK_QUESTIONS])
    return Subject(denoiser, loss, sinks, SmallerLayers(bank, sizes))


def words(choice: Choice) -> tuple[str, str, str]:
    """A choice as the first cells of its row."""
    layer, group, value = choice
    return "" if layer is None else str(layer), group, str(value)


def measured(path: Path, studied: Subject) -> dict[Choice, float]:
    """Measured losses, those that the file knows among them."""
    known: dict[tuple[str, str, str], float] = {}
    if path.exists():
        with path.open(newline="") as file:
            known = {
                (row["layer"], row["group"], row["choice"]): float(row["measured_nats"])
                for row in csv.DictReader(file)
            }
    found: dict[Choice, float] = {}
    for choice, plan in studied.singles():
        cells = words(choice)
        if cells not in known:
            network = compress(studied.denoiser, plan, studied.bank(plan)).network
            known[cells] = studied.loss.loss(network, studied.sinks.kept_shares(plan))
            write(path, {**found, choice: known[cells]}, None)
        found[choice] = known[cells]
    return found


def estimate(choice: Choice, estimated: Sensitivities) -> float | None:
    """What was estimated of a choice."""
    layer, group, value = choice
    if isinstance(value, WeightFormat):
        return estimated.of(layer, group, value)
    assert layer is not None
    if group in SIZES:
        return estimated.of_size(layer, group, int(value))
    return estimated.of_threshold(layer, value)


def write(path: Path, losses: dict[Choice, float], estimated: Sensitivities | None) -> None:
    """The table, estimates beside what was measured."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["layer", "group", "choice", "measured_nats", "estimated_nats"])
        for choice, nats in losses.items():
            told = "" if estimated is None else f"{estimate(choice, estimated):.6e}"
            table.writerow([*words(choice), f"{nats:.6e}", told])


def agreement(losses: dict[Choice, float], estimated: Sensitivities) -> tuple[float, float, float]:
    """Spearman's rank correlation, median ratio and spread of the ratio's logarithm."""
    real = np.array(list(losses.values()))
    guess = np.array([estimate(choice, estimated) for choice in losses], dtype=float)
    ratio = np.log(np.maximum(guess, 1e-12) / np.maximum(real, 1e-12))
    return (
        float(spearmanr(real, guess).statistic),
        float(np.exp(np.median(ratio))),
        float(ratio.std()),
    )


def report(path: Path) -> None:
    """What the table says of the estimates in it."""
    table = pd.read_csv(path)
    drops, sized = table["group"] == THRESHOLD, table["group"].isin(SIZES)
    parts = {
        "all": table,
        "formats": table[~drops & ~sized],
        "thresholds": table[drops],
        "sizes": table[sized],
    }
    for name, part in parts.items():
        if len(part):
            rank = spearmanr(part["measured_nats"], part["estimated_nats"]).statistic
            print(f"{path.name}, {name}: {len(part)} choices, Spearman {rank:.3f}")


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
    studied = subject(args.model, args.questions)
    losses = measured(path, studied)
    print("draws seed   cost in evaluations   Spearman   median ratio   spread of its logarithm")
    for draws in DRAWS:
        for seed in range(SEEDS):
            found = studied.estimated(draws, seed)
            rank, ratio, spread = agreement(losses, found)
            cost = found.passes / studied.loss.cost
            print(f"{draws:5} {seed:4} {cost:21.1f} {rank:10.3f} {ratio:14.2f} {spread:25.2f}")
            if (draws, seed) == (2, 0):
                write(path, losses, found)
    report(path)


if __name__ == "__main__":
    main()
