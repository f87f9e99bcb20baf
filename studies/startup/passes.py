"""How much longer a full pass takes than its products alone, which a dry run's times are told from.

    python studies/startup/passes.py [--rounds 5]

Products of gsm-mini's sizes by numpy and its layers by torch are timed in turns, on one thread each.
"""

from __future__ import annotations

import argparse
from statistics import median

import torch
from threadpoolctl import threadpool_limits

from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.study.preparation.pass_time import layers_s, products_s

#: Positions of a sequence.
LENGTHS = (64, 128, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    denoiser = load_denoiser("gsm-mini")
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for length in LENGTHS:
            ratios = [
                layers_s(denoiser, length) / products_s(denoiser.geometry, length)
                for _ in range(rounds)
            ]
            print(
                f"{length} positions: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
