"""A task of your own in code: sums, asked in words that gsm-mini knows, and how the model scores on them.

    python examples/own_task.py [--limit 50]

The same from the command line, for a search as well (run it in the folder of this file):

    hwsearch evaluate gsm-mini --task own_task:make_task --limit 50
"""

from __future__ import annotations

import argparse
import random

from hwsearch.jobs.evaluation import EvaluationSettings, evaluate_model
from hwsearch.tasks import Problem, Task
from hwsearch.tasks.choice import TaskChoice

NAMES = ("Tom", "Mia", "Ben", "Ana")


def problems(split: str, count: int, seed: int) -> list[Problem]:
    """Problems of a split: what calibrates must not be what scores, so a split has draws of its own."""
    drawn = random.Random(f"{split} {seed}")
    found = []
    for _ in range(count):
        name, bags, each = drawn.choice(NAMES), drawn.randint(2, 9), drawn.randint(2, 9)
        question = (
            f"{name} has {bags} bags with {each} apples each. How many apples does {name} have?"
        )
        found.append(Problem(question, f"#### {bags * each}"))
    return found


def make_task(source: object = None) -> Task:
    """What `--task own_task:make_task` calls, with what `--task-path` says; here it says nothing."""
    return Task("bags", problems)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=50, help="problems")
    options = parser.parse_args(arguments)
    asked = EvaluationSettings(TaskChoice(task="own_task:make_task"), limit=options.limit)
    found = evaluate_model("gsm-mini", asked)
    for rule, score in found.scores.items():
        low, high = score.interval
        print(
            f"{rule}: {score.solved} of {options.limit} solved (95 % interval {low:.0%} to {high:.0%})"
        )


if __name__ == "__main__":
    main()
