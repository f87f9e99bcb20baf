"""Evaluations that samplers need on real weights: formats of SmolLM2-135M by layer, 4⁹¹ plans.

    python -m tests.smollm2 --download
    HWSEARCH_GSM8K=FOLDER python studies/search-efficiency/smollm2.py [--samplers additive-prior,tpe]
    python studies/search-efficiency/smollm2.py --report

Each layer chooses a format for its attention, one for gate_up and one for down; the head chooses a
format. The loss is the KL divergence over the right answers of two of GSM8K's training problems, read
from left to right; times are of the table in smollm2-device, which was timed on an AMD EPYC (AVX2, no
VNNI). Runs and losses are kept in results/smollm2-*.csv, as those of `large.py`, which prints the same.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from large import Losses, run
from race import Problem

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.latency.devices.device import load_device
from hwsearch.study import Goal, SearchSpace, prepare
from hwsearch.study.preparation import default_workload
from hwsearch.study.sensitivities import measure_sensitivities
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses import make_loss
from hwsearch.tasks.losses.loss import DivergenceLoss
from tests.smollm2 import FILE

QUESTIONS = 2
DEVICE = Path(__file__).parent / "smollm2-device"


def load_problem(results: Path) -> tuple[Problem, Losses]:
    """The problem, and what evaluates it."""
    if not FILE.is_file() or "HWSEARCH_GSM8K" not in os.environ:
        sys.exit(
            "needs SmolLM2 (python -m tests.smollm2 --download) and GSM8K (HWSEARCH_GSM8K=FOLDER)"
        )
    task = TaskChoice(task="gsm8k", task_path=os.environ["HWSEARCH_GSM8K"], num_shots=0)
    denoiser = task.asking(load_denoiser(FILE, causal=True))
    device = load_device(DEVICE)
    space = SearchSpace.of(denoiser, device)
    problems = task.calibration_problems(QUESTIONS)
    loss = make_loss("kl", denoiser, problems)
    assert isinstance(loss, DivergenceLoss)
    goal, workload = Goal(target_ratio=1.0), default_workload(denoiser, task)
    asked = [problem.question for problem in problems]
    objective = prepare(denoiser, space, device, workload, goal, asked, loss)
    losses = Losses(objective, results / "smollm2-losses.csv")
    sizes = {name: len(choices) for name, choices in space.parameters().items()}
    uniform = tuple(tuple(space.params(plan).values()) for plan in space.uniform_plans())
    prior = measure_sensitivities(
        denoiser.network, loss, space.formats, groups=space.linear_groups
    ).prior(space)
    return Problem(sizes, objective.costs(), losses, uniform, space.kinds(), prior), losses


if __name__ == "__main__":
    title = "SmolLM2-135M, formats by layer"
    run(__doc__, load_problem, "smollm2", title, ("additive-prior", "additive", "tpe"))
