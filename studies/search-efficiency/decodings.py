"""Evaluations that samplers need where the decoding is chosen, too: 8·80⁶·4 plans of gsm-mini on `cpu`.

    python studies/search-efficiency/decodings.py [--samplers additive,tpe] [--seeds 5] [--minutes 14]

As `large.py`, whose options it has. Each plan answers the calibration questions itself, so its time is
of its own passes and its loss has the price of its decoding; the additive sampler is told the times of
the uncompressed model's passes, and learns the rest. Files begin with `decodings-` in results/.
"""

from __future__ import annotations

from pathlib import Path

from large import RESULTS, Losses, run
from race import Problem

from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.latency.devices.device import load_device
from hwsearch.study import Goal, SearchSpace, prepare
from hwsearch.study.choices.linear_groups import TOGETHER
from hwsearch.study.choices.search_space import DECODING
from hwsearch.study.preparation import default_workload
from hwsearch.study.samplers.additive.cost import AdditiveCost
from hwsearch.tasks.choice import TaskChoice

QUESTIONS = 6


def load_problem(results: Path = RESULTS) -> tuple[Problem, Losses]:
    """The problem, and what evaluates it."""
    denoiser, device = load_denoiser("gsm-mini"), load_device("cpu")
    space = SearchSpace.of(denoiser, device, linear_groups=TOGETHER)
    goal = Goal(target_ratio=1.0)
    asked = TaskChoice().calibration_questions(QUESTIONS)
    objective = prepare(denoiser, space, device, default_workload(denoiser), goal, asked)
    losses = Losses(objective, results / "decodings-losses.csv", keeps_times=True)
    sizes = {name: len(choices) for name, choices in space.parameters().items()}
    uniform = tuple(tuple(space.params(plan).values()) for plan in space.uniform_plans())
    cost = AdditiveCost.of_tables(objective.times, DECODING)
    return Problem(sizes, cost, losses, uniform, space.kinds()), losses


if __name__ == "__main__":
    title = "gsm-mini on cpu, every layer and the decoding free"
    run(__doc__, load_problem, "decodings", title, ("additive", "tpe", "nsga2", "random"))
