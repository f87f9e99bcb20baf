"""What searched plans of SmolLM2-135M lose on problems that the search has not seen.

    python -m tests.smollm2 --download
    hwsearch profile --device smol --shapes-of GGUF --causal --task gsm8k --task-path GSM8K --num-shots 0
    hwsearch search --model GGUF --causal --device smol --task gsm8k --task-path GSM8K --num-shots 0 \\
        --limit 8 --formats fp32,w8a8,w8,w4 --groups free --target-ms MS --trials 40 --name smol
    python studies/smollm2/heldout.py smol GSM8K [--problems 64] [--trials 1,8]

GGUF is the file that the download prints, GSM8K a folder with train.jsonl and test.jsonl, MS what uniform
`w8a8` takes, times 1.15. Prints for each trial its predicted time, and the KL divergence in nats a token of
right answers, with Student's 95 % interval over problems, and of the ratio to the first trial's.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import stats

from hwsearch.compression import WeightBank, compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.study import load_study
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses.causal import SolvedDivergence


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
    losses = [SolvedDivergence.record(denoiser, [problem]) for problem in asked]
    kept, frame = KeptShares.keeping_all(denoiser.num_layers), study.frame().set_index("number")
    first: np.ndarray | None = None
    for number in numbers:
        network = compress(denoiser, study.plan(number), WeightBank(denoiser)).network
        found = np.array([loss.loss(network, kept) for loss in losses])
        first = found if first is None else first
        ms = frame.loc[number, "generation_ms"]
        ratio = stats.bootstrap(
            (found, first), lambda a, b, axis: a.mean(axis) / b.mean(axis),
            paired=True, method="percentile", rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
        low, high = stats.t.interval(0.95, len(found) - 1, found.mean(), stats.sem(found))
        print(
            f"trial {number:3}  {ms:8.1f} ms  {found.mean():.4f} nats ({low:.4f} to {high:.4f})  "
            f"{found.mean() / first.mean():.3f} of trial {numbers[0]}'s ({ratio.low:.3f} to {ratio.high:.3f})"
        )


if __name__ == "__main__":
    main()
