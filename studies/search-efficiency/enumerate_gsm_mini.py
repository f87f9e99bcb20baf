"""True loss and latency of all 4,096 plans that give each of gsm-mini's layers one of four formats.

    python studies/search-efficiency/enumerate_gsm_mini.py [--minutes 14]

Attention and mlp of a layer share a format, the head stays fp32, nothing is dropped from the
cache. Plans come in lexicographic order and are appended to results/enumerated.csv, so a run that
is stopped goes on where it was. A layer's outputs depend only on the formats up to it, and are
kept while those stay the same: 5,460 layer evaluations in place of 24,576, and the same numbers.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import torch
from gsm_mini import make_objective
from torch import nn

from hwsearch.compression import compress
from hwsearch.compression.swap import swapped
from hwsearch.plan import CompressionPlan
from hwsearch.study import Objective

FORMATS = ("fp32", "w8", "w8a8", "w4")
LAYERS = 6
QUESTIONS = 3
TABLE = Path(__file__).parent / "results" / "enumerated.csv"


@dataclass
class Memory:
    """What one layer answered, call by call, under the formats up to it."""

    prefix: str = ""
    answers: list[Any] = field(default_factory=list)
    calls: int = 0

    def begin(self, prefix: str) -> None:
        """A new plan: keep the answers if its formats up to this layer are the old ones."""
        self.calls = 0
        if prefix != self.prefix:
            self.prefix, self.answers = prefix, []


class Remembering(nn.Module):
    """A layer that looks up answers it gave before under the same formats."""

    def __init__(self, layer: nn.Module, memory: Memory) -> None:
        super().__init__()
        self.layer, self.memory = layer, memory

    def forward(self, *args: Any, **options: Any) -> Any:
        at, self.memory.calls = self.memory.calls, self.memory.calls + 1
        if at == len(self.memory.answers):
            self.memory.answers.append(self.layer(*args, **options))
        return self.memory.answers[at]


def plan_of(digits: str) -> CompressionPlan:
    """The plan of one digit a layer, an index into `FORMATS`."""
    formats = [FORMATS[int(digit)] for digit in digits]
    return CompressionPlan.validate({"layers": [{"attention": f, "mlp": f} for f in formats]})


def evaluate(objective: Objective, digits: str, memories: list[Memory]) -> tuple[float, float]:
    """Loss in nats and predicted milliseconds of one plan."""
    plan = plan_of(digits)
    network = compress(objective.denoiser, plan, objective.bank).network
    layers = {}
    for index, memory in enumerate(memories):
        memory.begin(digits[: index + 1])
        path = f"model.layers.{index}"
        layers[path] = Remembering(network.get_submodule(path), memory)
    shares = objective.sinks.kept_shares(plan)
    loss = objective.loss_function.loss(swapped(network, layers), shares)
    return loss, objective.latency(plan).generation_ms


def missing() -> Iterator[str]:
    """Plans that the table lacks, in order."""
    done = max(0, len(TABLE.read_text().splitlines()) - 1) if TABLE.exists() else 0
    every = ("".join(digits) for digits in product("0123", repeat=LAYERS))
    return (digits for index, digits in enumerate(every) if index >= done)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=14.0, help="stop after so long")
    stop = time.monotonic() + 60 * parser.parse_args().minutes
    torch.set_num_threads(1)
    objective = make_objective(QUESTIONS)
    memories = [Memory() for _ in range(LAYERS)]
    new = not TABLE.exists()
    with TABLE.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["plan", "loss", "generation_ms"])
        for digits in missing():
            loss, generation_ms = evaluate(objective, digits, memories)
            writer.writerow([digits, f"{loss:.6e}", f"{generation_ms:.4f}"])
            file.flush()
            if time.monotonic() > stop:
                break


if __name__ == "__main__":
    main()
