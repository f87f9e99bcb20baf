"""A search in Python: from the model to files that run.

python examples/search.py [--trials 40] [--questions 32] [--ratio 0.2] [--out bundle]
"""

from __future__ import annotations

import argparse

import hwsearch as hw


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40, help="plans to try")
    parser.add_argument("--questions", type=int, default=32, help="calibration questions")
    parser.add_argument("--ratio", type=float, default=0.2, help="target, of the uncompressed time")
    parser.add_argument("--out", default="bundle", help="folder of the files")
    options = parser.parse_args(arguments)

    denoiser = hw.load_denoiser("gsm-mini")
    device = hw.load_device("cpu")
    space = hw.SearchSpace.of(denoiser, device)
    study = hw.search(
        denoiser,
        space,
        device,
        target_ratio=options.ratio,
        trials=options.trials,
        limit=options.questions,
        name="example",
        on_trial=lambda done: print(f"{done} of {options.trials} plans", end="\r"),
    )
    print(study.front()[["loss", "generation_ms", "size_bytes"]].to_string())

    bundle = hw.export(denoiser, study.best_plan, options.out)
    for check in hw.verify(bundle.path):
        print(f"{check.name}: {'yes' if check.passed else 'NO'}")
    question = (
        "Mia has 12 apples. Mia buys 3 bags with 4 apples each. How many apples does Mia have now?"
    )
    print(question, "\n", hw.Runtime(bundle).generate(question))


if __name__ == "__main__":
    main()
