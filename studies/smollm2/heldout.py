"""What searched plans of SmolLM2-135M lose on problems that the search has not seen.

    python -m tests.smollm2 --download
    hwsearch profile --device smol --shapes-of GGUF --causal --task gsm8k --task-path GSM8K --num-shots 0
    hwsearch search --model GGUF --causal --device smol --task gsm8k --task-path GSM8K --num-shots 0 \\
        --limit 8 --formats fp32,w8a8,w8,w4 --groups free --target-ms MS --trials 40 --name smol \\
        [--rounding calibrated]
    python studies/smollm2/heldout.py smol GSM8K [--problems 64] [--trials 1,8]

GGUF is the file that the download prints, GSM8K a folder with train.jsonl and test.jsonl, MS what uniform
`w8a8` takes, or that times 1.15; README.md beside this says which, and where `--limit` is 32. Prints for each
trial its predicted time and, in nats a token of right answers, the KL divergence and what it adds to their
negative log-likelihood, each with Student's 95 % interval over problems; and the ratio of divergences to the
first trial's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from scipy import stats

from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.network import Network
from hwsearch.study import load_study
from hwsearch.study.preparation.assembly import bank_of
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses.causal import SolvedDivergence, SolvedLikelihood, SolvedProblems


def main() -> None:
    """Print a line a trial."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study")
    parser.add_argument("gsm8k")
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--trials", help="the uniform w8a8 plan first; 1 and the best if left")
    options = parser.parse_args()
    study = load_study(options.study)
    best = int(study.feasible().iloc[0]["number"])
    numbers = [int(n) for n in (options.trials or f"1,{best}").split(",")]
    task = TaskChoice(task="gsm8k", task_path=options.gsm8k, num_shots=0)
    denoiser = task.asking(study.record.loading.load(study.record.kept("model")))
    asked = task.worded("test", options.problems)
    # a problem a batch, so that each has a loss of its own
    divergences = [SolvedDivergence.record(denoiser, [problem]) for problem in asked]
    likelihoods = [SolvedLikelihood.record(denoiser, [problem]) for problem in asked]
    kept, frame = KeptShares.keeping_all(denoiser.num_layers), study.frame().set_index("number")

    def losses(of: Sequence[SolvedProblems], network: Network) -> np.ndarray:
        return np.array([loss.loss(network, kept) for loss in of])

    # linears are calibrated on what the search judged by, as it did
    seen = SolvedDivergence.record(denoiser, study.record.task_choice.calibration_problems())
    bank, plain = bank_of(denoiser, study.space, (), seen), losses(likelihoods, denoiser.network)
    first: np.ndarray | None = None
    for number in numbers:
        network = compress(denoiser, study.plan(number), bank).network
        found, added = losses(divergences, network), losses(likelihoods, network) - plain
        first = found if first is None else first
        ratio = stats.bootstrap(
            (found, first), lambda a, b, axis: a.mean(axis) / b.mean(axis),
            paired=True, method="percentile", rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
        print(
            f"trial {number:3}  {frame.loc[number, 'generation_ms']:8.1f} ms  KL {spread(found)}  "
            f"added {spread(added)}  {found.mean() / first.mean():.3f} of trial {numbers[0]}'s KL "
            f"({ratio.low:.3f} to {ratio.high:.3f})",
            flush=True,
        )


def spread(values: np.ndarray) -> str:
    """Mean with Student's 95 % interval."""
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    return f"{values.mean():.4f} ({low:.4f} to {high:.4f})"


if __name__ == "__main__":
    main()
